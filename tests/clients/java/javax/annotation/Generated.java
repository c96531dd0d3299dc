package javax.annotation;

import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;

/** The one annotation of generated code that Java left out after version 8, as `javax.annotation-api` has it. */
@Retention(RetentionPolicy.SOURCE)
public @interface Generated {
    String[] value();

    String date() default "";

    String comments() default "";
}
