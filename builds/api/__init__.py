from builds.lib.without import without

# They are for fields of PostgreSQL in forms that are made from models, for pages to try the API, for a client of its tests, and for its own
# description: none is used here.
with without("django.contrib.postgres.fields", "inflection", "markdown", "pygments", "requests", "uritemplate", "yaml"):
    import rest_framework.compat  # noqa: F401 - it looks for all of them
