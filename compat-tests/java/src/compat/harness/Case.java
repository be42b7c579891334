package compat.harness;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** One case: a static method that takes a {@link Scene} and throws when the server misbehaves. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface Case {
    /** What is expected, in a few words: the second half of the printed line. */
    String value();

    /** The matrix row, when it is not that of the class. */
    String feature() default "";
}
