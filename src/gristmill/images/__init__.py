"""Images: decoded safely, changed by steps of pipelines, embedded, exported. Needs the extra ``gristmill[images]``."""
