"""What each setting means, for the README's table and the desk's page: ``python -m jobsite.described`` prints the table.

A setting is read in :mod:`jobsite.settings` and has its line here; a test holds the two, and the README, together.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from jobsite import env


@dataclass(frozen=True)
class Setting:
    """``means`` is a sentence of the README, with code between backquotes; ``default`` what it is without, where that is no plain value."""

    name: str
    means: str
    unit: str = ""
    default: str = ""
    secret: bool = False

    @property
    def default_words(self) -> str:
        """As in the README; empty where the default is empty."""
        value = self.default or (env.READ[self.name].default if self.name in env.READ else "")
        return value if not value or self.default else f"`{value}`" + (f" {self.unit}" if self.unit else "")


GROUPS: dict[str, tuple[Setting, ...]] = {
    "The service": (
        Setting(
            "SECRET_KEY",
            "Django's signing key: 50 random characters, the same ones at every start",
            default="none, required",
            secret=True,
        ),
        Setting(
            "PUBLIC_URL",
            "where staff reach Jobsite; `https://…` turns on secure cookies, HSTS and the redirect to HTTPS",
            default="`http://localhost:$PORT`",
        ),
        Setting("PORT", "the port that the web server listens on"),
        Setting("HOST", "the address that the web server listens on"),
        Setting("ALLOWED_HOSTS", "host names that are answered, comma-separated"),
        Setting(
            "PROXIES",
            "how many proxies of yours a request passes before it comes here: so many addresses of `X-Forwarded-For` are "
            "believed, from its end, to know whose sign-ins fail and who asks the API too often",
            unit="proxies",
        ),
        Setting("WEB_WORKERS", "processes of the web server", unit="processes"),
        Setting(
            "WEB_CONNECTIONS",
            "connections to one process of the web server; where all are taken, the one that has been waited for the longest is closed",
            unit="connections",
        ),
        Setting(
            "REQUEST_HEAD_SECONDS",
            "within which a request's address and headers must have arrived; later is answered 408",
            unit="seconds",
        ),
        Setting("REQUEST_BODY_SECONDS", "within which a request's body must have arrived; later is answered 408", unit="seconds"),
        Setting("REQUEST_HEADERS_MAX", "headers of a request; more is answered 431", unit="headers"),
        Setting("REQUEST_HEAD_MAX_BYTES", "of a request's address and headers together; more is answered 431", unit="bytes"),
        Setting("KEEP_ALIVE_SECONDS", "for how long a connection stays open with no request", unit="seconds"),
        Setting("ANSWER_SECONDS", "that a client may keep an answer waiting, and one more for each 50 kB of it", unit="seconds"),
        Setting("DATA_DIR", "database, queue store, workspaces and kept exports", default="`data`"),
        Setting(
            "DATABASE_URL",
            "`sqlite:///path` or `postgres://user:password@host/name` (needs `requirements-postgres.txt`)",
            default="SQLite in `DATA_DIR`",
        ),
        Setting("REDIS_URL", "any Redis or Valkey, `redis://…` or `unix://…`", default="an embedded Valkey"),
        Setting(
            "DISK_RESERVE",
            "what must be free in `DATA_DIR`; with less, submissions are answered 503, not accepted, and running builds "
            "are ended",
            unit="bytes",
        ),
        Setting("LOG_LEVEL", "how much the service's own log says: `DEBUG`, `INFO`, `WARNING` or `ERROR`"),
        Setting("DEBUG", "Django's debug mode; never in production"),
    ),
    "desci-server and the API": (
        Setting(
            "INTERNAL_SERVICE_SECRET",
            "the common secret of Jobsite and desci-server; without it the API answers 500",
            default="none, required",
            secret=True,
        ),
        Setting(
            "INTERNAL_SERVICE_SECRETS_OLD",
            "further secrets that are still taken, comma-separated, while the secret is changed",
            secret=True,
        ),
        Setting("DESCI_SERVER_URL", "where desci-server is"),
        Setting("NODES_URL", "where people look at nodes: pages link to `NODES_URL/node/UUID`"),
        Setting(
            "SUBMISSION_ACCEPTED_STATUS",
            "what a submission is answered with: `202`, or `200` for a desci-server that knows only that",
        ),
        Setting("REPORT_COMPLETED", "whether `COMPLETED` is sent after the files were received"),
        Setting("DELIVERY_PATIENCE", "for how long one delivery is tried again", unit="seconds"),
        Setting(
            "API_RATE_PER_CLIENT",
            "requests to the API a minute by one address, of IPv6 one network of 64 bits; more are answered 429 with `Retry-After`; 0 is "
            "no limit",
            unit="requests a minute",
        ),
        Setting("API_RATE", "the same by all addresses together", unit="requests a minute"),
        Setting("SUBMISSION_MAX_BYTES", "the largest body of a request to the API", unit="bytes"),
        Setting("REQUIRE_DECLARED_EXPORTS", "fail a submission without exports at once, instead of making a MECA of our own"),
    ),
    "Builds": (
        Setting("GITHUB_URL", "where archives come from"),
        Setting("GITHUB_TOKEN", "sent to the archive host only", secret=True),
        Setting(
            "BUILD_COMMAND",
            "`auto`: `pixi run build-meca` where the repository has that task and pixi is installed, else the bundled "
            "recipe; `myst`: always the bundled recipe; anything else: a shell command, run in the project file's folder",
        ),
        Setting("BUILD_TIMEOUT", "how long a build's commands may take together", unit="seconds"),
        Setting("STAGE_TIMEOUT", "how long each other stage may take: fetch, unpack, collect, deliver", unit="seconds"),
        Setting("ATTEMPT_TIMEOUT", "how long all stages of an attempt may take together", unit="seconds"),
        Setting(
            "BUILD_NETWORK",
            "whether the bundled `myst` may ask the network (templates, DOIs); a command of the repository's own always may",
        ),
        Setting(
            "BUILD_NETWORK_HOSTS",
            "hosts that a build with network may ask, on the ports 80 and 443, comma-separated; `.name` for all below it, `name:port` "
            "for another port. Private, loopback and link-local addresses are always refused",
            default="package registries, GitHub, mystmd.org, doi.org and its like (`jobsite/settings.py`)",
        ),
        Setting(
            "BUILD_NETWORK_PRIVATE_HOSTS",
            "hosts of your own that builds may ask at a private address, a package mirror for instance; each named singly, with its port "
            "where that is not 80 or 443 (`mirror.example.org:8081`). Whatever they answer, every author can read. Loopback, link-local "
            "and cloud metadata addresses stay refused",
        ),
        Setting(
            "BUILD_TEMPLATES_URL",
            "where MyST's templates are looked up by name. They, and those that a manuscript names by an HTTPS address, are fetched by the "
            "rules of `BUILD_NETWORK_HOSTS`, once a day for all builds, also for those without network; `no`: none is fetched",
        ),
        Setting(
            "BUILD_PACKAGE_MIRRORS",
            "caching mirrors of yours from which builds fetch packages, so that each is fetched once and no build can change it for "
            "another: `https://conda.anaconda.org=https://mirror.example.org/conda,https://pypi.org/simple=https://mirror.example.org/pypi`"
            ". `deploy/package-mirror.conf` is one, for nginx. Written into the configuration that pixi, pip, uv and npm "
            "(`https://registry.npmjs.org`) read; the mirrors' hosts may be asked, also at a private address",
        ),
        Setting(
            "BUILD_ENVIRONMENT",
            "names of variables of Jobsite's own environment that builds get to see, comma-separated",
        ),
        Setting("WORKERS", "builds at a time", unit="builds"),
        Setting("WORKER_NAME", "how this machine's workers are called in the record", default="the host's name"),
        Setting("LEASE_SECONDS", "a worker that has not been heard of for so long is taken for lost", unit="seconds"),
        Setting(
            "STOP_GRACE",
            "how long a worker may still build after it was told to end; then the build is queued anew",
            unit="seconds",
        ),
        Setting(
            "AUTOMATIC_RETRIES",
            "how often in a row Jobsite tries again by itself when the fault lies outside (at most 3)",
            unit="attempts",
        ),
        Setting("EXPORTS_KEPT_DAYS", "for how long exports can be delivered again", unit="days"),
    ),
    "What a build may take": (
        Setting(
            "BUILD_SANDBOX",
            "`require`: builds are shut in by bubblewrap, or, where user namespaces are refused, by Landlock (Linux "
            "6.12), which hides less (see below); without either none is run; `bubblewrap`, `landlock`: only by that; "
            "`may-build-unsandboxed`: where neither works, builds run with no protection at all",
        ),
        Setting("BUILD_READABLE", "further folders that builds may read (a TeX outside `/usr`), comma-separated"),
        Setting("BUILD_MEMORY_MAX_BYTES", "the most memory of a build's programs together", unit="bytes"),
        Setting("BUILD_PROCESSES_MAX", "the most processes and threads of a build", unit="processes"),
        Setting("BUILD_DISK_MAX_BYTES", "the room that a build's workspace may take", unit="bytes"),
        Setting("BUILD_FILES_MAX", "the most files that a build's workspace may hold", unit="files"),
        Setting("BUILD_FILE_MAX_BYTES", "the largest file that a build may write", unit="bytes"),
        Setting("BUILD_CGROUPS", "`auto`: control groups are used where the service may make them; `no`: never"),
        Setting(
            "BUILD_CPU_WEIGHT",
            "with control groups: a build's share of the processors beside 100 of the service, 1 to 10000",
        ),
        Setting("BUILD_NICE", "without them: how far builds stand back for the rest of the service, 0 to 19 (nice(1))"),
        Setting(
            "LOG_MAX_BYTES", "of the output of a build's commands together, 32 more for each line; more ends it", unit="bytes"
        ),
        Setting(
            "LOG_MAX_BYTES_PER_SECOND",
            "of the same, on average over 10 s; who writes faster is made to wait; 0 is no limit",
            unit="bytes",
        ),
        Setting("ARCHIVE_MAX_BYTES", "the largest archive of a repository that is fetched", unit="bytes"),
        Setting("UNPACKED_MAX_BYTES", "the most that an unpacked repository may hold", unit="bytes"),
        Setting("UNPACKED_MAX_ENTRIES", "the most files and folders that an unpacked repository may hold", unit="entries"),
        Setting("EXPORTS_MAX", "the most exports that a manuscript may declare", unit="exports"),
        Setting("EXPORTS_MAX_BYTES", "the most that is delivered together", unit="bytes"),
    ),
    "Single sign-on": (
        Setting(
            "OIDC_ISSUER",
            "the address of an OpenID Connect provider, for single sign-on beside passwords; needs `pip install -r "
            "requirements-oidc.txt` and, at the provider, the redirect address `PUBLIC_URL/sign-in/oidc/callback/`",
        ),
        Setting("OIDC_CLIENT_ID", "what the provider knows Jobsite by"),
        Setting("OIDC_CLIENT_SECRET", "what Jobsite proves to the provider with that it is itself", secret=True),
        Setting("OIDC_NAME", "what the button calls it"),
        Setting(
            "OIDC_USERNAME_CLAIM",
            "the claim that is taken as the user name; choose one that people can't set themselves",
        ),
        Setting(
            "OIDC_ROLE_CLAIM",
            "the claim that lists roles (`viewers`, `editors`, `admins`), taken over at each sign-in; without it roles "
            "are given in the admin",
        ),
        Setting("OIDC_DEFAULT_ROLE", "without a role claim, the role of who signs in for the first time; `none` for nobody"),
    ),
}


def table() -> str:
    """The README's table."""
    rows = ["| name | default | meaning |", "| --- | --- | --- |"]
    for settings in GROUPS.values():
        rows += [
            f"| `{setting.name}` | {setting.default_words} | {setting.means} |".replace("|  |", "| |") for setting in settings
        ]
    return "\n".join(rows)


if __name__ == "__main__":
    from jobsite import settings  # noqa: F401 - reads them all

    sys.stdout.write(f"{table()}\n")
