package compat.harness;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Marks a case that needs an action on the server. All cases of one wave run in parallel up to their
 * {@link Scene#wave()} call, the action is carried out once, and all continue.
 */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface Wave {
    /** The action: one or more space-separated {@link Ctl} commands, carried out in order. */
    String value();
}
