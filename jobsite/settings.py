"""Django's settings, and Jobsite's own at the end. Everything that differs between installations comes from the environment."""

from __future__ import annotations

import socket
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobsite import database_url, embedded, env, log_lines, redis_url, static_files

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY", "insecure-key-of-a-debugging-session" if DEBUG else "")
if not SECRET_KEY:
    raise env.WrongSetting("SECRET_KEY", "is not set; set it to 50 random characters, and keep the same ones")

HOST = env.text("HOST", "0.0.0.0")  # noqa: S104 - desci-server runs on another machine, or in another container
PORT = env.integer("PORT", 5454, minimum=1, maximum=65535)
PUBLIC_URL = env.url("PUBLIC_URL", f"http://localhost:{PORT}")
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "data"))).expanduser().resolve()

# Links in messages are made from PUBLIC_URL and never from the Host header, so any host is safe.
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "*")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "axes",
    "csp",
    "builds",
    "django_rq",  # after builds, whose management commands replace some of its own
]

MIDDLEWARE = [
    "jobsite.telemetry.TraceMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "builds.api.throttling.RateLimitMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "builds.desk.access.SignedInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "builds.staff.numbers.TooLargeNumberMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "jobsite.urls"
APPEND_SLASH = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "builds.desk.context.queue",
            ],
        },
    },
]

DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{DATA_DIR / 'jobsite.sqlite3'}")
DATABASES = {"default": database_url.read(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == database_url.SQLITE:
    if Path(DATABASES["default"]["NAME"]).parent == DATA_DIR:
        env.make_folder("DATA_DIR", DATA_DIR)
    # Several processes write. A transaction takes the write lock when it begins, because a later upgrade of a read lock can't wait.
    # Readers are not blocked, and a writer waits for the lock.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
    # Tests start the real service as separate processes, which can't share a database in memory.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "desk:sign-in", "desk:submissions", "desk:sign-in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-gb"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT, STATIC_STORAGE = static_files.find()
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = DEBUG

# --- Security. A proxy in front of the service ends HTTPS. The API is also used over plain HTTP from inside the network.
HTTPS = urlsplit(PUBLIC_URL).scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^v1/", r"^healthz$", r"^metrics$", r"^readyz$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
# Only our own files, and no script or style inside a page: an author's text can't run, even if a template forgets to escape it.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    },
}
# A sign-in lasts at most ten hours: a working day.
SESSION_COOKIE_AGE = 10 * 3600
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True

# Wrong passwords lock a user name only for the address that they came from, so that nobody can lock out another user.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
AXES_CLIENT_IP_CALLABLE = "builds.staff.addresses.client_address"
AXES_VERBOSE = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["builds.api.authentication.SecretAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["builds.api.authentication.HasSecret"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "builds.api.negotiation.OnlyOne",
    "DEFAULT_PARSER_CLASSES": ["builds.api.parsers.LimitedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "builds.api.envelope.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": False,  # an author's control characters can't confuse a terminal that shows the answer
    "DEFAULT_METADATA_CLASS": None,  # the contract has no OPTIONS
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Jobsite",
    "DESCRIPTION": "Builds journal manuscripts written in MyST Markdown and delivers them to desci-server.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "PREPROCESSING_HOOKS": ["builds.api.schema.describe"],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {
        "State": "builds.models.State",
        "StageState": "builds.models.Stage.State",
        "Mode": "builds.models.Mode",
        "Fault": ["manuscript", "template", "service", "outside", "unknown"],
    },
}

DEFAULT_EXCEPTION_REPORTER_FILTER = "jobsite.debugging.HidesAddresses"

LOGGING_CONFIG = "jobsite.log_lines.configure"
LOGGING = log_lines.settings_of(
    env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
    env.choice("LOG_FORMAT", "auto", ("auto", "json", "text")),
)

# Reports of errors and traces, each off unless it has somewhere to go.
SENTRY_DSN = env.text("SENTRY_DSN")
SENTRY_ENVIRONMENT = env.text("SENTRY_ENVIRONMENT", "production")
OTEL_EXPORTER_OTLP_ENDPOINT = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
if SENTRY_DSN and not find_spec("sentry_sdk"):
    raise env.WrongSetting("SENTRY_DSN", "needs the Sentry SDK: pip install -r requirements-sentry.txt")
if OTEL_EXPORTER_OTLP_ENDPOINT and not find_spec("opentelemetry"):
    raise env.WrongSetting("OTEL_EXPORTER_OTLP_ENDPOINT", "needs OpenTelemetry: pip install -r requirements-otel.txt")

# --- Jobsite's own settings. :mod:`jobsite.described` says what each means.

# Single sign-on with OpenID Connect, beside accounts with passwords. It is off without an issuer.
OIDC_ISSUER = env.url("OIDC_ISSUER", "https://none.invalid") if env.text("OIDC_ISSUER") else ""
OIDC_CLIENT_ID, OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_ID"), env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_USERNAME_CLAIM = env.text("OIDC_USERNAME_CLAIM", "email")
OIDC_ROLE_CLAIM = env.text("OIDC_ROLE_CLAIM")
OIDC_DEFAULT_ROLE = env.choice("OIDC_DEFAULT_ROLE", "viewers", ("none", "viewers", "editors"))
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise env.WrongSetting("OIDC_CLIENT_ID", "and OIDC_CLIENT_SECRET must be set with OIDC_ISSUER")
if OIDC_ISSUER and not find_spec("authlib"):
    raise env.WrongSetting("OIDC_ISSUER", "needs Authlib: pip install -r requirements-oidc.txt")

PROXIES = env.integer("PROXIES", 0, maximum=10)

# The queue store.
REDIS_URL = env.text("REDIS_URL") or embedded.redis_url(DATA_DIR)
REDIS_EMBEDDED = not env.text("REDIS_URL")
redis_url.check(REDIS_URL)
QUEUE_NAME = "builds"

# django-rq, with classes that do not trust the queue store. Its dashboard is replaced by builds/admin/queue_store.py.
RQ_QUEUES = {
    QUEUE_NAME: {
        **redis_url.configuration(REDIS_URL),
        "DEFAULT_TIMEOUT": -1,
        "SERIALIZER": "rq.serializers.JSONSerializer",
    }
}
RQ = {
    "JOB_CLASS": "builds.queue.jobs.BuildJob",
    "QUEUE_CLASS": "builds.queue.jobs.BuildQueue",
    "WORKER_CLASS": "builds.service.worker.JobsiteWorker",
    "COMMIT_MODE": "on_db_commit",
}
RQ_SHOW_ADMIN_LINK = False

# Requests per minute, counted in the queue store.
API_RATE_PER_CLIENT = env.integer("API_RATE_PER_CLIENT", 1200)
API_RATE = env.integer("API_RATE", 6000)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Articles as HTML, of 8 MB at most each. In memory, so that an erased submission leaves nothing on the disk.
    "articles": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "articles",
        "TIMEOUT": 3600,
        "OPTIONS": {"MAX_ENTRIES": 8},
    },
}

# Who may read /metrics. Nobody, unless one of the two is set.
METRICS_TOKEN = env.text("METRICS_TOKEN")
METRICS_ALLOWED = env.networks("METRICS_ALLOWED")
API_DOCS_PUBLIC = env.boolean("API_DOCS_PUBLIC", default=False)

# The secret shared with desci-server, and older ones that the API still accepts while it is being changed.
INTERNAL_SERVICE_SECRET = env.text("INTERNAL_SERVICE_SECRET")
INTERNAL_SERVICE_SECRETS = [secret for secret in (INTERNAL_SERVICE_SECRET, *env.words("INTERNAL_SERVICE_SECRETS_OLD")) if secret]
SUBMISSION_ACCEPTED_STATUS = int(env.choice("SUBMISSION_ACCEPTED_STATUS", "202", ("200", "202")))
SUBMISSION_MAX_BYTES = env.integer("SUBMISSION_MAX_BYTES", 100_000_000, minimum=1)
REQUIRE_DECLARED_EXPORTS = env.boolean("REQUIRE_DECLARED_EXPORTS", default=False)
FAILING_FINDINGS = env.words("FAILING_FINDINGS")
if FAILING_FINDINGS:
    from builds.engine.kinds import can_not_fail  # imported only if needed: it takes a moment

    if problem := can_not_fail(FAILING_FINDINGS):
        raise env.WrongSetting("FAILING_FINDINGS", problem)

DESCI_SERVER_URL = env.url("DESCI_SERVER_URL", "http://host.docker.internal:5420")
NODES_URL = env.url("NODES_URL", "https://nodes.desci.com")
REPORT_COMPLETED = env.boolean("REPORT_COMPLETED", default=True)
DELIVERY_PATIENCE = env.integer("DELIVERY_PATIENCE", 900, minimum=1)

GITHUB_URL = env.url("GITHUB_URL", "https://github.com")
GITHUB_TOKEN = env.text("GITHUB_TOKEN")

BUILD_COMMAND = env.text("BUILD_COMMAND", "auto")
BUILD_TIMEOUT = env.integer("BUILD_TIMEOUT", 3600, minimum=1)
STAGE_TIMEOUT = env.integer("STAGE_TIMEOUT", 3600, minimum=1)
ATTEMPT_TIMEOUT = env.integer("ATTEMPT_TIMEOUT", 10_800, minimum=1)
BUILD_NETWORK = env.boolean("BUILD_NETWORK", default=False)
BUILD_NETWORK_HOSTS = env.words(
    "BUILD_NETWORK_HOSTS",
    "pypi.org,files.pythonhosted.org,.anaconda.org,.prefix.dev,registry.npmjs.org,github.com,.githubusercontent.com,codeload.github.com,"
    "api.github.com,.mystmd.org,.curvenote.com,doi.org,.doi.org,.crossref.org,.datacite.org",
)
BUILD_NETWORK_PRIVATE_HOSTS = env.private_hosts("BUILD_NETWORK_PRIVATE_HOSTS")
BUILD_TEMPLATES_URL = env.url("BUILD_TEMPLATES_URL", "https://api.mystmd.org", may_be_no=True)
BUILD_DOI_URL = env.url("BUILD_DOI_URL", "https://doi.org", may_be_no=True)
BUILD_PACKAGE_MIRRORS = env.mirrors("BUILD_PACKAGE_MIRRORS")
BUILD_ENVIRONMENT = env.words("BUILD_ENVIRONMENT")
ARCHIVE_MAX_BYTES = env.integer("ARCHIVE_MAX_BYTES", 1 << 30, minimum=1)
UNPACKED_MAX_BYTES = env.integer("UNPACKED_MAX_BYTES", 4 << 30, minimum=1)
UNPACKED_MAX_ENTRIES = env.integer("UNPACKED_MAX_ENTRIES", 100_000, minimum=1)
LOG_MAX_BYTES = env.integer("LOG_MAX_BYTES", 200_000_000, minimum=10_000)
LOG_MAX_BYTES_PER_SECOND = env.integer("LOG_MAX_BYTES_PER_SECOND", 5_000_000)

# The sandbox and the limits of a build.
BUILD_SANDBOX = env.choice("BUILD_SANDBOX", "require", ("require", "bubblewrap", "landlock", "may-build-unsandboxed"))
BUILD_READABLE = env.words("BUILD_READABLE")
BUILD_MEMORY_MAX_BYTES = env.integer("BUILD_MEMORY_MAX_BYTES", 4_000_000_000, minimum=1_500_000_000)
BUILD_PROCESSES_MAX = env.integer("BUILD_PROCESSES_MAX", 1024, minimum=64)
BUILD_DISK_MAX_BYTES = env.integer("BUILD_DISK_MAX_BYTES", 10_000_000_000, minimum=1)
BUILD_FILES_MAX = env.integer("BUILD_FILES_MAX", 500_000, minimum=1)
BUILD_FILE_MAX_BYTES = env.integer("BUILD_FILE_MAX_BYTES", 4_000_000_000, minimum=1)
BUILD_CGROUPS = env.choice("BUILD_CGROUPS", "auto", ("auto", "no"))
BUILD_CPU_WEIGHT = env.integer("BUILD_CPU_WEIGHT", 33, minimum=1, maximum=10_000)
BUILD_NICE = env.integer("BUILD_NICE", 5, maximum=19)
EXPORTS_MAX = env.integer("EXPORTS_MAX", 100, minimum=1)
EXPORTS_MAX_BYTES = env.integer("EXPORTS_MAX_BYTES", 4_000_000_000, minimum=1)

DISK_RESERVE = env.integer("DISK_RESERVE", 200_000_000)

WORKERS = env.integer("WORKERS", 2, minimum=0, maximum=256)
BUILDS_PER_OWNER = env.integer("BUILDS_PER_OWNER", 0, maximum=256)
WEB_WORKERS = env.integer("WEB_WORKERS", 2, minimum=1, maximum=64)
# The limits of a client of the web server.
WEB_CONNECTIONS = env.integer("WEB_CONNECTIONS", 400, minimum=8)
REQUEST_HEAD_SECONDS = env.integer("REQUEST_HEAD_SECONDS", 10, minimum=1)
REQUEST_BODY_SECONDS = env.integer("REQUEST_BODY_SECONDS", 60, minimum=1)
REQUEST_HEADERS_MAX = env.integer("REQUEST_HEADERS_MAX", 100, minimum=20)
REQUEST_HEAD_MAX_BYTES = env.integer("REQUEST_HEAD_MAX_BYTES", 32_768, minimum=8_192, maximum=65_536)
KEEP_ALIVE_SECONDS = env.integer("KEEP_ALIVE_SECONDS", 5, minimum=1)
ANSWER_SECONDS = env.integer("ANSWER_SECONDS", 30, minimum=1)
LEASE_SECONDS = env.integer("LEASE_SECONDS", 10, minimum=2)
WORKER_NAME = env.text("WORKER_NAME", socket.gethostname())

AUTOMATIC_RETRIES = env.integer("AUTOMATIC_RETRIES", 2, minimum=0, maximum=3)
STOP_GRACE = env.integer("STOP_GRACE", 60, minimum=0)

EXPORTS_KEPT_DAYS = env.integer("EXPORTS_KEPT_DAYS", 90, minimum=1)
EXPORTS_KEPT_MAX_BYTES = env.integer("EXPORTS_KEPT_MAX_BYTES", 0)
BUILD_CACHE_DAYS = env.integer("BUILD_CACHE_DAYS", 7)
ARCHIVES_KEPT_MAX_BYTES = env.integer("ARCHIVES_KEPT_MAX_BYTES", 5_000_000_000)
EXPORTS_STORAGE = env.bucket("EXPORTS_STORAGE")
EXPORTS_S3_ENDPOINT = env.url("EXPORTS_S3_ENDPOINT", "https://none.invalid") if env.text("EXPORTS_S3_ENDPOINT") else ""
EXPORTS_S3_REGION = env.text("EXPORTS_S3_REGION")
EXPORTS_S3_ACCESS_KEY, EXPORTS_S3_SECRET_KEY = env.text("EXPORTS_S3_ACCESS_KEY"), env.text("EXPORTS_S3_SECRET_KEY")
if bool(EXPORTS_S3_ACCESS_KEY) != bool(EXPORTS_S3_SECRET_KEY):
    raise env.WrongSetting("EXPORTS_S3_ACCESS_KEY", "and EXPORTS_S3_SECRET_KEY must be set together")
if EXPORTS_STORAGE and not find_spec("storages"):
    raise env.WrongSetting("EXPORTS_STORAGE", "needs django-storages: pip install -r requirements-s3.txt")
STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": STATIC_STORAGE},
    "exports": {"BACKEND": "builds.record.exports_folder.ExportsFolder"},
}
if EXPORTS_STORAGE:
    STORAGES["exports"] = {
        "BACKEND": "builds.record.exports_bucket.ExportsBucket",
        "OPTIONS": {
            "bucket_name": EXPORTS_STORAGE[0],
            "location": EXPORTS_STORAGE[1],
            "endpoint_url": EXPORTS_S3_ENDPOINT or None,
            "region_name": EXPORTS_S3_REGION or None,
            # Without keys the library looks for them where AWS keeps them, such as the machine's role.
            "access_key": EXPORTS_S3_ACCESS_KEY or None,
            "secret_key": EXPORTS_S3_SECRET_KEY or None,
            "addressing_style": "path" if EXPORTS_S3_ENDPOINT else None,
        },
    }
LOGS_KEPT_DAYS = env.integer("LOGS_KEPT_DAYS", 730)
LOGS_KEPT_MAX_LINES = env.integer("LOGS_KEPT_MAX_LINES", 0)
FRONT_MATTER_KEPT_DAYS = env.integer("FRONT_MATTER_KEPT_DAYS", 365)
TRIES_KEPT_DAYS = env.integer("TRIES_KEPT_DAYS", 365)
EVENTS_KEPT_DAYS = env.integer("EVENTS_KEPT_DAYS", 0)
SIGN_INS_KEPT_DAYS = env.integer("SIGN_INS_KEPT_DAYS", 180)

# E-mail and notifications. Without a host, no e-mail is sent, and nobody can reset a password.
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, minimum=1, maximum=65535)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_USER"), env.text("EMAIL_HOST_PASSWORD")
EMAIL_SECURITY = env.choice("EMAIL_SECURITY", "starttls", ("starttls", "tls", "none"))
EMAIL_USE_TLS, EMAIL_USE_SSL = EMAIL_SECURITY == "starttls", EMAIL_SECURITY == "tls"
EMAIL_FROM = env.text("EMAIL_FROM", "jobsite@localhost")
EMAIL_TIMEOUT = 20
NOTIFY_EMAILS = env.words("NOTIFY_EMAILS")
NOTIFY_WEBHOOK_URL = env.url("NOTIFY_WEBHOOK_URL", "https://none.invalid") if env.text("NOTIFY_WEBHOOK_URL") else ""
NOTIFY_WEBHOOK_SECRET = env.text("NOTIFY_WEBHOOK_SECRET")
NOTIFY_DIGEST_HOUR = env.integer("NOTIFY_DIGEST_HOUR", 0, maximum=23) if env.text("NOTIFY_DIGEST_HOUR") else None
if NOTIFY_EMAILS and not EMAIL_HOST:
    raise env.WrongSetting("NOTIFY_EMAILS", "needs EMAIL_HOST, the server that sends e-mail")
if NOTIFY_WEBHOOK_URL and not NOTIFY_WEBHOOK_SECRET:
    raise env.WrongSetting("NOTIFY_WEBHOOK_URL", "needs NOTIFY_WEBHOOK_SECRET, which messages are signed with")

FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # the API's parser limits the body and answers in the envelope
