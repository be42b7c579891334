package compat.harness;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Marks a case: a static method that takes a {@link Scene} and throws if the server misbehaves. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface Case {
    /** The expected behavior, in a few words: the second half of the printed line. */
    String value();

    /** The matrix row, if it differs from that of the class. */
    String feature() default "";
}
