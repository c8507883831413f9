"""Django's settings, and Jobsite's own at the end. Everything that differs between installations comes from the environment."""

from __future__ import annotations

import socket
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url

from jobsite import embedded, env

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY", "insecure-key-of-a-debugging-session" if DEBUG else "")
if not SECRET_KEY:
    raise env.WrongSetting("SECRET_KEY", "is not set; give it 50 random characters, the same ones at every start")

HOST = env.text("HOST", "0.0.0.0")  # noqa: S104 - desci-server runs on another machine, or in another container
PORT = env.integer("PORT", 5454, least=1, most=65535)
PUBLIC_URL = env.url("PUBLIC_URL", f"http://localhost:{PORT}")
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "data"))).expanduser().resolve()

# Links in messages are made from PUBLIC_URL, never from the Host header, so any host may be asked for.
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
]

MIDDLEWARE = [
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
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "jobsite.urls"
WSGI_APPLICATION = "jobsite.wsgi.application"
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
            ],
        },
    },
]

DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{DATA_DIR / 'jobsite.sqlite3'}")
try:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
except (ValueError, KeyError) as error:
    raise env.WrongSetting("DATABASE_URL", f"can't be used: {type(error).__name__}") from error
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes write: the write lock is taken when a transaction begins (an upgrade in its middle can't wait), readers go on
    # beside it, and a writer waits its turn.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
    # Tests start the real service as processes, which can't share a database in memory.
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
# Static files are found where they are, without a collecting step, so that a clone runs as it is.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# --- Security. HTTPS ends at a proxy in front of us; the API is also asked over plain HTTP from inside the network.
HTTPS = urlsplit(PUBLIC_URL).scheme == "https"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^v1/", r"^readyz$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
# Own files only, and no script or style inside a page: what an author wrote can't run, whatever a template forgets.
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
# Ten hours a sign-in lasts at most: a working day.
SESSION_COOKIE_AGE = 10 * 3600
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True

# After five wrong passwords a user name is locked for the address they came from, so that nobody can lock out somebody else.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
AXES_CLIENT_IP_CALLABLE = "builds.desk.sign_in.client_address"
AXES_VERBOSE = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["builds.api.authentication.SecretAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["builds.api.authentication.HasSecret"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["builds.api.parsers.LimitedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "builds.api.envelope.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": False,  # also what an author wrote to confuse a terminal is harmless there
    "DEFAULT_METADATA_CLASS": None,  # OPTIONS is no method of the contract
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Jobsite",
    "DESCRIPTION": "Builds journal manuscripts written in MyST Markdown and delivers them to desci-server.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {
        "State": "builds.models.State",
        "StageState": "builds.models.Stage.State",
        "Mode": "builds.models.Mode",
        "Fault": ["manuscript", "template", "service", "outside"],
    },
}

DEFAULT_EXCEPTION_REPORTER_FILTER = "jobsite.debugging.HidesAddresses"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "builds": {"level": env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # answered 400; a stranger's header is worth no traceback
        "rq": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}

# --- Jobsite's own, each with its line in the README's table.

# Single sign-on by OpenID Connect, beside the accounts with passwords; off while no issuer is named.
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

# How many proxies of ours a request passes: so many entries of X-Forwarded-For are believed, from its end.
PROXIES = env.integer("PROXIES", 0, most=10)

# The queue store. Redis away costs the web process a second at most: the reconciler queues what could not be queued.
REDIS_URL = env.text("REDIS_URL") or embedded.redis_url(DATA_DIR)
REDIS_EMBEDDED = not env.text("REDIS_URL")
QUEUE_NAME = "builds"

# Requests a minute, by one client and by all; counted in the queue store, which may be away.
API_RATE_PER_CLIENT = env.integer("API_RATE_PER_CLIENT", 1200)
API_RATE = env.integer("API_RATE", 6000)
# Not Django's own serializer: that one is pickle.
RATES = {
    "socket_timeout": 0.2,
    "socket_connect_timeout": 0.2,
    "serializer": "rq.serializers.JSONSerializer",
}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "rates": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "rate",
        "OPTIONS": RATES,
    },
}

# Jobsite's and desci-server's common secret, and those that are still taken from desci-server while it is being changed.
INTERNAL_SERVICE_SECRET = env.text("INTERNAL_SERVICE_SECRET")
INTERNAL_SERVICE_SECRETS = [secret for secret in (INTERNAL_SERVICE_SECRET, *env.words("INTERNAL_SERVICE_SECRETS_OLD")) if secret]
SUBMISSION_ACCEPTED_STATUS = int(env.choice("SUBMISSION_ACCEPTED_STATUS", "202", ("200", "202")))
SUBMISSION_MAX_BYTES = env.integer("SUBMISSION_MAX_BYTES", 100_000_000, least=1)
REQUIRE_DECLARED_EXPORTS = env.boolean("REQUIRE_DECLARED_EXPORTS", default=False)

DESCI_SERVER_URL = env.url("DESCI_SERVER_URL", "http://host.docker.internal:5420")
NODES_URL = env.url("NODES_URL", "https://nodes.desci.com")
REPORT_COMPLETED = env.boolean("REPORT_COMPLETED", default=True)
DELIVERY_PATIENCE = env.integer("DELIVERY_PATIENCE", 900, least=1)

GITHUB_URL = env.url("GITHUB_URL", "https://github.com")
GITHUB_TOKEN = env.text("GITHUB_TOKEN")

BUILD_COMMAND = env.text("BUILD_COMMAND", "auto")
BUILD_TIMEOUT = env.integer("BUILD_TIMEOUT", 3600, least=1)
STAGE_TIMEOUT = env.integer("STAGE_TIMEOUT", 3600, least=1)
ATTEMPT_TIMEOUT = env.integer("ATTEMPT_TIMEOUT", 10_800, least=1)
BUILD_NETWORK = env.boolean("BUILD_NETWORK", default=False)
BUILD_NETWORK_HOSTS = env.words(
    "BUILD_NETWORK_HOSTS",
    "pypi.org,files.pythonhosted.org,.anaconda.org,.prefix.dev,registry.npmjs.org,github.com,.githubusercontent.com,codeload.github.com,"
    "api.github.com,.mystmd.org,.curvenote.com,doi.org,.doi.org,.crossref.org,.datacite.org",
)
BUILD_NETWORK_PRIVATE_HOSTS = env.private_hosts("BUILD_NETWORK_PRIVATE_HOSTS")
BUILD_TEMPLATES_URL = env.url("BUILD_TEMPLATES_URL", "https://api.mystmd.org", may_be_no=True)
BUILD_PACKAGE_MIRRORS = env.mirrors("BUILD_PACKAGE_MIRRORS")
BUILD_ENVIRONMENT = env.words("BUILD_ENVIRONMENT")
ARCHIVE_MAX_BYTES = env.integer("ARCHIVE_MAX_BYTES", 1 << 30, least=1)
UNPACKED_MAX_BYTES = env.integer("UNPACKED_MAX_BYTES", 4 << 30, least=1)
UNPACKED_MAX_ENTRIES = env.integer("UNPACKED_MAX_ENTRIES", 100_000, least=1)
LOG_MAX_BYTES = env.integer("LOG_MAX_BYTES", 200_000_000, least=10_000)
LOG_MAX_BYTES_PER_SECOND = env.integer("LOG_MAX_BYTES_PER_SECOND", 5_000_000)

# How builds are shut in, and what each may take; more is refused, and named to the author.
BUILD_SANDBOX = env.choice("BUILD_SANDBOX", "require", ("require", "bubblewrap", "landlock", "may-build-unsandboxed"))
BUILD_READABLE = env.words("BUILD_READABLE")
BUILD_MEMORY_MAX_BYTES = env.integer("BUILD_MEMORY_MAX_BYTES", 4_000_000_000, least=1_500_000_000)
BUILD_PROCESSES_MAX = env.integer("BUILD_PROCESSES_MAX", 1024, least=64)
BUILD_DISK_MAX_BYTES = env.integer("BUILD_DISK_MAX_BYTES", 10_000_000_000, least=1)
BUILD_FILES_MAX = env.integer("BUILD_FILES_MAX", 500_000, least=1)
BUILD_FILE_MAX_BYTES = env.integer("BUILD_FILE_MAX_BYTES", 4_000_000_000, least=1)
BUILD_CGROUPS = env.choice("BUILD_CGROUPS", "auto", ("auto", "no"))
BUILD_CPU_WEIGHT = env.integer("BUILD_CPU_WEIGHT", 33, least=1, most=10_000)
BUILD_NICE = env.integer("BUILD_NICE", 5, most=19)
EXPORTS_MAX = env.integer("EXPORTS_MAX", 100, least=1)
EXPORTS_MAX_BYTES = env.integer("EXPORTS_MAX_BYTES", 4_000_000_000, least=1)

DISK_RESERVE = env.integer("DISK_RESERVE", 200_000_000)

WORKERS = env.integer("WORKERS", 2, least=0, most=256)
WEB_WORKERS = env.integer("WEB_WORKERS", 2, least=1, most=64)
# What a client of the web server may take of it.
WEB_CONNECTIONS = env.integer("WEB_CONNECTIONS", 400, least=8)
REQUEST_HEAD_SECONDS = env.integer("REQUEST_HEAD_SECONDS", 10, least=1)
REQUEST_BODY_SECONDS = env.integer("REQUEST_BODY_SECONDS", 60, least=1)
REQUEST_HEADERS_MAX = env.integer("REQUEST_HEADERS_MAX", 100, least=20)
REQUEST_HEAD_MAX_BYTES = env.integer("REQUEST_HEAD_MAX_BYTES", 32_768, least=8_192, most=65_536)
KEEP_ALIVE_SECONDS = env.integer("KEEP_ALIVE_SECONDS", 5, least=1)
ANSWER_SECONDS = env.integer("ANSWER_SECONDS", 30, least=1)
LEASE_SECONDS = env.integer("LEASE_SECONDS", 10, least=2)
WORKER_NAME = env.text("WORKER_NAME", socket.gethostname())

# How often in a row Jobsite tries again by itself when the fault lies outside, and what a worker that is told to end may still take.
AUTOMATIC_RETRIES = env.integer("AUTOMATIC_RETRIES", 2, least=0, most=3)
STOP_GRACE = env.integer("STOP_GRACE", 60, least=0)

# Why a build failed, and the exports that "deliver again" needs, outlive the build by this.
EXPORTS_KEPT_DAYS = env.integer("EXPORTS_KEPT_DAYS", 90, least=1)

FILE_UPLOAD_PERMISSIONS = 0o600
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # the API's own parser limits the body, and says so in the envelope
