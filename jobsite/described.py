"""What each setting means, for the desk's settings page and for ``docs/settings.md``.

A setting is read in :mod:`jobsite.settings` and described here; a test compares both, and the page, with each other.
:mod:`jobsite.settings_table` writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobsite import env


@dataclass(frozen=True)
class Setting:
    """The description of a setting. ``means`` and ``default`` are prose with code between backquotes.

    ``default`` is only given where the value in the code would not help a reader.
    """

    name: str
    means: str
    unit: str = ""
    default: str = ""
    secret: bool = False

    @property
    def default_words(self) -> str:
        """The default as the page shows it. Empty if the setting is empty by default."""
        value = self.default or (env.READ[self.name].default if self.name in env.READ else "")
        return value if not value or self.default else f"`{value}`" + (f" {self.unit}" if self.unit else "")


GROUPS: dict[str, tuple[Setting, ...]] = {
    "The service": (
        Setting(
            "SECRET_KEY",
            "Django's signing key: 50 random characters. Keep the same ones: a new key signs everybody out",
            default="none, required",
            secret=True,
        ),
        Setting(
            "PUBLIC_URL",
            "address at which staff reach Jobsite. `https://…` turns on secure cookies, HSTS and the redirect to HTTPS",
            default="`http://localhost:$PORT`",
        ),
        Setting("PORT", "port on which the web server listens"),
        Setting("HOST", "address on which the web server listens"),
        Setting("ALLOWED_HOSTS", "host names under which Jobsite can be reached, comma-separated. `*`: any"),
        Setting(
            "PROXIES",
            "number of proxies in front of Jobsite that add to `X-Forwarded-For`. The client's address is the entry at that "
            "position, counted from the end. It decides whose sign-in is locked and whose requests are limited",
            unit="proxies",
        ),
        Setting("WEB_WORKERS", "processes of the web server", unit="processes"),
        Setting(
            "WEB_CONNECTIONS",
            "open connections per process of the web server. If all are taken, the connection that has kept the server waiting "
            "longest is closed",
            unit="connections",
        ),
        Setting(
            "REQUEST_HEAD_SECONDS",
            "time limit for receiving the request line and headers. A slower client gets 408",
            unit="seconds",
        ),
        Setting("REQUEST_BODY_SECONDS", "time limit for receiving a request's body. A slower client gets 408", unit="seconds"),
        Setting("REQUEST_HEADERS_MAX", "maximum number of headers in a request. More get 431", unit="headers"),
        Setting("REQUEST_HEAD_MAX_BYTES", "largest request line and headers together. Larger ones get 431", unit="bytes"),
        Setting("KEEP_ALIVE_SECONDS", "how long a connection stays open without a request", unit="seconds"),
        Setting(
            "ANSWER_SECONDS",
            "how long a client may stall while it receives a response, plus one second per 50 kB of it",
            unit="seconds",
        ),
        Setting(
            "DATA_DIR",
            "folder for the database, the queue store, workspaces and kept exports",
            default="`data` in the project's folder",
        ),
        Setting(
            "DATABASE_URL",
            "`sqlite:///path` or `postgresql://user:password@host:5432/name` (needs `requirements-postgres.txt`). "
            "`?sslmode=verify-full&sslrootcert=/path` for TLS, `%2Frun%2Fpostgresql` as the host for a unix socket",
            default="SQLite in `DATA_DIR`",
        ),
        Setting(
            "REDIS_URL",
            "a Redis or Valkey server: `redis://user:password@host:6379/0`, `rediss://…` for TLS, `unix://:password@/path?db=0`, or "
            "`redis+sentinel://:password@host:26379,host:26379/master/0`",
            default="an embedded Valkey",
        ),
        Setting(
            "DISK_RESERVE",
            "space that must stay free in `DATA_DIR`. With less, submissions get 503 and are not accepted, and running builds are stopped",
            unit="bytes",
        ),
        Setting(
            "LOG_LEVEL", "how much the service itself logs: `DEBUG`, `INFO`, `WARNING` or `ERROR`. The steps of builds are `INFO`"
        ),
        Setting(
            "LOG_FORMAT",
            "form of the service's log: `json` is one JSON object a line, `text` is for people, `auto` is text on a terminal and JSON "
            "elsewhere",
        ),
        Setting(
            "SENTRY_DSN",
            "address of a Sentry project that gets every error of the log, masked. Needs `requirements-sentry.txt`",
            secret=True,
        ),
        Setting("SENTRY_ENVIRONMENT", "the environment that Sentry shows"),
        Setting(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "address of an OpenTelemetry collector (OTLP over HTTP) that gets traces of requests and stages. The other standard `OTEL_…` "
            "variables apply too. Needs `requirements-otel.txt`",
        ),
        Setting(
            "METRICS_TOKEN",
            "token with which Prometheus may read `/metrics`, as `Authorization: Bearer …`. Metrics are off if this and "
            "`METRICS_ALLOWED` are empty",
            secret=True,
        ),
        Setting(
            "METRICS_ALLOWED",
            "addresses and networks that may read `/metrics` without the token, comma-separated: `10.0.0.0/8`. Behind a proxy, "
            "`PROXIES` must be right, or every client seems to have the proxy's address",
        ),
        Setting("API_DOCS_PUBLIC", "whether `/v1/docs`, the page that describes the API, can be read without an account"),
        Setting("DEBUG", "Django's debug mode. Never use it in production"),
    ),
    "desci-server and the API": (
        Setting(
            "INTERNAL_SERVICE_SECRET",
            "the secret that Jobsite and desci-server share. Without it the API answers 500",
            default="none, required",
            secret=True,
        ),
        Setting(
            "INTERNAL_SERVICE_SECRETS_OLD",
            "older secrets that the API still accepts while the secret is being changed, comma-separated",
            secret=True,
        ),
        Setting("DESCI_SERVER_URL", "address of desci-server"),
        Setting("NODES_URL", "website that shows nodes. Pages link to `NODES_URL/node/UUID`"),
        Setting(
            "SUBMISSION_ACCEPTED_STATUS",
            "status of the answer to an accepted submission: `202`, or `200` for a desci-server that accepts only that",
        ),
        Setting("REPORT_COMPLETED", "whether to send `COMPLETED` after desci-server has received the files"),
        Setting(
            "DELIVERY_PATIENCE",
            "how long Jobsite keeps trying to deliver the files after the first failed delivery. Attempts that only deliver follow "
            "each other, with pauses of 10 s to 15 min in which no worker is busy. After that, the submission fails",
            unit="seconds",
        ),
        Setting(
            "API_RATE_PER_CLIENT",
            "maximum API requests per minute from one address (IPv6: from one /64 network). More get 429 with `Retry-After`. `0`: no limit",
            unit="requests a minute",
        ),
        Setting(
            "API_RATE", "maximum API requests per minute from all addresses together. `0`: no limit", unit="requests a minute"
        ),
        Setting("SUBMISSION_MAX_BYTES", "largest body of an API request. A larger one gets 413", unit="bytes"),
        Setting(
            "REQUIRE_DECLARED_EXPORTS",
            "whether a submission that declares no exports fails at once. Otherwise Jobsite makes a MECA for it",
        ),
        Setting(
            "FAILING_FINDINGS",
            "codes of findings, separated by commas, that fail a build once its exports have been collected: for example "
            "`image-missing`. Other findings do not fail a build; it succeeds, with problems. Editorial checks can't be listed",
        ),
    ),
    "Builds": (
        Setting("GITHUB_URL", "where repositories are fetched from"),
        Setting("GITHUB_TOKEN", "access token for `GITHUB_URL`. It is sent nowhere else", secret=True),
        Setting(
            "BUILD_COMMAND",
            "`auto`: `pixi run build-meca` if the repository has that task and pixi is installed, otherwise the bundled recipe. "
            "`myst`: always the bundled recipe. Anything else: a shell command, run in the folder of the project file",
        ),
        Setting("BUILD_TIMEOUT", "time limit for all commands of a build together", unit="seconds"),
        Setting("STAGE_TIMEOUT", "time limit for each other stage: fetch, unpack, collect, deliver", unit="seconds"),
        Setting("ATTEMPT_TIMEOUT", "time limit for all stages of an attempt together", unit="seconds"),
        Setting(
            "BUILD_NETWORK",
            "whether the bundled `myst` may use the network, for example to look up DOIs. A repository's own command always may",
        ),
        Setting(
            "BUILD_NETWORK_HOSTS",
            "hosts that a build with network can reach, on ports 80 and 443, comma-separated. `.name`: every host below it. `name:port`: "
            "another port. Private, loopback and link-local addresses are always refused",
            default="package registries, GitHub, mystmd.org, doi.org and similar hosts (`jobsite/settings.py`)",
        ),
        Setting(
            "BUILD_NETWORK_PRIVATE_HOSTS",
            "your own hosts that builds can reach at a private address, such as a package mirror. Name each host, with its port if that is "
            "not 80 or 443 (`mirror.example.org:8081`). Every author can read what these hosts answer. Loopback, link-local and cloud "
            "metadata addresses stay refused",
        ),
        Setting(
            "BUILD_TEMPLATES_URL",
            "where MyST templates are looked up by name. Jobsite fetches templates once a day for all builds, also for builds without "
            "network, and only from hosts in `BUILD_NETWORK_HOSTS`. This includes templates that a manuscript names by an HTTPS "
            "address. `no`: fetches none",
        ),
        Setting(
            "BUILD_DOI_URL",
            "where the DOIs that manuscripts cite are looked up, also for builds without network. The answers are cached for all builds. "
            "`no`: looks up none",
        ),
        Setting(
            "BUILD_PACKAGE_MIRRORS",
            "your caching mirrors for packages, so that each package is fetched once and no build can change it for another: "
            "`https://conda.anaconda.org=https://mirror.example.org/conda,https://pypi.org/simple=https://mirror.example.org/pypi`. "
            "`deploy/package-mirror.conf` makes nginx such a mirror. They are written into the configuration of pixi, pip, uv and npm "
            "(`https://registry.npmjs.org`). Builds can reach the mirrors' hosts, also at a private address",
        ),
        Setting(
            "BUILD_ENVIRONMENT",
            "names of environment variables of the service that builds can see, comma-separated",
        ),
        Setting("WORKERS", "number of builds that run at the same time", unit="builds"),
        Setting(
            "BUILDS_PER_OWNER",
            "how many builds of one repository owner may run at the same time, on all hosts together. Deliveries of kept exports do not "
            "count. 0: no limit. Owners take turns in any case",
            unit="builds",
        ),
        Setting("WORKER_NAME", "prefix of the names of this machine's workers", default="the host's name"),
        Setting("LEASE_SECONDS", "a worker that gives no sign of life for this long is considered lost", unit="seconds"),
        Setting(
            "STOP_GRACE",
            "how long a worker may continue building after it was asked to stop. After that the build is stopped and requeued",
            unit="seconds",
        ),
        Setting(
            "AUTOMATIC_RETRIES",
            "how many times in a row Jobsite retries an attempt that failed for a temporary reason, such as an unreachable host. At most "
            "3. Retries of deliveries (`DELIVERY_PATIENCE`) and after GitHub's rate limit (when GitHub says, within a day) do not count",
            unit="attempts",
        ),
    ),
    "What is kept, and for how long": (
        Setting(
            "EXPORTS_KEPT_DAYS",
            "how long exports are kept after their build, so that they can be looked at and delivered again",
            unit="days",
        ),
        Setting(
            "EXPORTS_KEPT_MAX_BYTES",
            "maximum size of all kept exports together. Above it, the exports delivered least recently are removed. `0`: no limit",
            unit="bytes",
        ),
        Setting(
            "BUILD_CACHE_DAYS",
            "how long after its end the result of a build is reused: if the same commit is submitted with the same recipe and tools, its "
            "exports are delivered without a new build, provided they are still kept. `0`: every submission is built",
            unit="days",
        ),
        Setting(
            "ARCHIVES_KEPT_MAX_BYTES",
            "maximum size of the downloaded repositories that are kept for a week in `DATA_DIR/cache/archives`, so that a commit is "
            "downloaded only once. Above it, the least recently used ones are removed. `0`: none are kept",
            unit="bytes",
        ),
        Setting(
            "EXPORTS_STORAGE",
            "where exports are kept: `s3://bucket` or `s3://bucket/prefix` of Amazon S3 or a compatible service (needs "
            "`requirements-s3.txt`). Several machines need it, or a folder `DATA_DIR/exports` that they share",
            default="the folder `DATA_DIR/exports`",
        ),
        Setting(
            "EXPORTS_S3_ENDPOINT", "address of the compatible service, for example `https://s3.example.org`", default="Amazon S3"
        ),
        Setting("EXPORTS_S3_REGION", "region of the bucket, if the service has regions"),
        Setting("EXPORTS_S3_ACCESS_KEY", "access key id. Without it, credentials are looked up where AWS's tools look for them"),
        Setting("EXPORTS_S3_SECRET_KEY", "the secret of the access key", secret=True),
        Setting("LOGS_KEPT_DAYS", "how long the log of an attempt is kept after its end. `0`: for ever", unit="days"),
        Setting(
            "LOGS_KEPT_MAX_LINES",
            "maximum number of lines in all logs together. Above it, the oldest lines of ended attempts are removed. `0`: no limit",
            unit="lines",
        ),
        Setting(
            "FRONT_MATTER_KEPT_DAYS",
            "how long the front matter that desci-server sent is kept after the end of the newest attempt. Title, authors and the "
            "declared exports stay, so that the submission can still be found and retried. `0`: for ever",
            unit="days",
        ),
        Setting(
            "TRIES_KEPT_DAYS",
            "how long each try to send a status update is kept after the end of its attempt. The updates stay. `0`: for ever",
            unit="days",
        ),
        Setting("EVENTS_KEPT_DAYS", "how long the history of an attempt is kept after its end. `0`: for ever", unit="days"),
        Setting(
            "SIGN_INS_KEPT_DAYS",
            "how long sign-ins and wrong passwords are kept. Sessions are removed when they have ended. `0`: for ever",
            unit="days",
        ),
    ),
    "Sandbox and limits of builds": (
        Setting(
            "BUILD_SANDBOX",
            "`require`: builds run in bubblewrap, or with Landlock alone (Linux 6.12) where user namespaces are refused. Landlock alone "
            "hides less. If neither works, builds fail. `bubblewrap`, `landlock`: only this one. `may-build-unsandboxed`: builds run "
            "without any protection if neither works",
        ),
        Setting("BUILD_READABLE", "further folders that builds can read, comma-separated. For example a TeX outside `/usr`"),
        Setting("BUILD_MEMORY_MAX_BYTES", "maximum memory of all of a build's programs together", unit="bytes"),
        Setting("BUILD_PROCESSES_MAX", "maximum number of processes and threads in a build", unit="processes"),
        Setting("BUILD_DISK_MAX_BYTES", "maximum disk space for a build's workspace", unit="bytes"),
        Setting("BUILD_FILES_MAX", "maximum number of files in a build's workspace", unit="files"),
        Setting("BUILD_FILE_MAX_BYTES", "largest file that a build can write", unit="bytes"),
        Setting("BUILD_CGROUPS", "`auto`: use control groups if the service can create them. `no`: never"),
        Setting(
            "BUILD_CPU_WEIGHT",
            "with control groups: a build's share of the processors, 1 to 10000. The service itself has 100. With version 1, where a build "
            "competes with every single program of the machine, less than 100 counts as 100",
        ),
        Setting("BUILD_NICE", "without control groups: the niceness of builds, 0 to 19 (see nice(1))"),
        Setting(
            "LOG_MAX_BYTES",
            "maximum output of all of a build's commands together. Each line counts 32 bytes more. A build that writes more is stopped",
            unit="bytes",
        ),
        Setting(
            "LOG_MAX_BYTES_PER_SECOND",
            "maximum output per second, averaged over 10 s. A command that writes faster is slowed down. `0`: no limit",
            unit="bytes",
        ),
        Setting("ARCHIVE_MAX_BYTES", "largest archive of a repository", unit="bytes"),
        Setting("UNPACKED_MAX_BYTES", "largest repository after unpacking", unit="bytes"),
        Setting("UNPACKED_MAX_ENTRIES", "maximum number of files and folders in a repository", unit="entries"),
        Setting("EXPORTS_MAX", "maximum number of exports that a manuscript can declare", unit="exports"),
        Setting("EXPORTS_MAX_BYTES", "largest delivery: all files together", unit="bytes"),
    ),
    "E-mail and notifications": (
        Setting(
            "EMAIL_HOST",
            "the server that sends e-mail. If it is set, staff can reset their password by e-mail, and Jobsite can send letters to authors",
        ),
        Setting("EMAIL_PORT", "the port of that server"),
        Setting("EMAIL_HOST_USER", "the user name there"),
        Setting("EMAIL_HOST_PASSWORD", "the password there", secret=True),
        Setting("EMAIL_SECURITY", "`starttls`, `tls` from the first byte, or `none`"),
        Setting("EMAIL_FROM", "the sender of e-mail"),
        Setting(
            "NOTIFY_EMAILS",
            "comma-separated addresses that are notified of alarms: a failure that is our own fault, work without progress, status "
            "updates that are not accepted, no worker. They also get the digest",
        ),
        Setting("NOTIFY_WEBHOOK_URL", "an address that gets the same messages as JSON, by POST"),
        Setting("NOTIFY_WEBHOOK_SECRET", "the secret that these messages are signed with", secret=True),
        Setting(
            "NOTIFY_DIGEST_HOUR", "the hour of the day, in UTC, of the daily digest: `0` to `23`. Without it there is no digest"
        ),
    ),
    "Single sign-on": (
        Setting(
            "OIDC_ISSUER",
            "address of an OpenID Connect provider, for single sign-on beside passwords. Needs `pip install -r "
            "requirements-oidc.txt`. Register the redirect address `PUBLIC_URL/sign-in/oidc/callback/` with the provider",
        ),
        Setting("OIDC_CLIENT_ID", "the client id that the provider gave to Jobsite"),
        Setting("OIDC_CLIENT_SECRET", "the client secret that the provider gave to Jobsite", secret=True),
        Setting("OIDC_NAME", "the provider's name on the sign-in button"),
        Setting("OIDC_USERNAME_CLAIM", "claim used as the user name. Choose one that users can't change themselves"),
        Setting(
            "OIDC_ROLE_CLAIM",
            "claim that lists roles (`viewers`, `editors`, `admins`). They replace the account's roles at each sign-in. If this is not "
            "set, roles are given in the admin",
        ),
        Setting("OIDC_DEFAULT_ROLE", "without a role claim: the role of an account at its first sign-in. `none`: no role"),
    ),
}
