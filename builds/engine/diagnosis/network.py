"""Rules for what programs print about hosts that refuse a request or fail.

What a program prints proves nothing. The proxy knows what it refused. Of an encrypted answer it knows only which host was asked.
None of these is retried automatically.
"""

from __future__ import annotations

import re

from builds.engine.diagnosis.rule import Fact, Weight, measured, rule
from builds.engine.findings import Severity
from builds.errors import HostFailed, HostRefused, Unexplained

HOST = r"(?:https?://|host='?|[Hh]ost: |to |verify )(?P<host>[\w-]+(?:\.[\w-]+)+)"
# What a program prints before it contacts a host: the line with the answer often does not name the host.
ASKED = re.compile(
    r"^(?:--\d{4}-\d\d-\d\d [\d:]+--  |trying URL '|Retrieving '|.*\berror sending request for url \()"
    r"https?://(?P<host>[\w-]+(?:\.[\w-]+)+)"
)
NEAR = 8  # lines
NO_TRUST = (
    r"(?:CERTIFICATE_VERIFY_FAILED|[Cc]ertificate verify failed|cannot verify \S+ certificate|[Ss]elf[- ]signed certificate"
    r"|SSLError|SSL: |UNABLE_TO_VERIFY|unable to get local issuer|TLS handshake|invalid peer certificate"
    r"|[Cc]ertificate (?:of \S+ )?(?:has expired|is not trusted))"
)
UNKNOWN_NAME = (
    r"(?!.*dns error).*?(?:failed to lookup address information|[Tt]emporary failure in name resolution"
    r"|[Nn]ame or service not known|nodename nor servname provided)"
)
BROKEN_OFF = (
    r".*?(?:\bRPC failed; |\bearly EOF$|invalid index-pack output$|\bindex-pack failed$|peer closed connection"
    r"|[Cc]onnection reset by peer|\bECONNRESET\b|\bRemoteDisconnected\b|\bIncompleteRead\b|\bChunkedEncodingError\b"
    r"|connection closed before message completed|transfer closed with \d+ bytes remaining)"
)
LOOK = "Check in the log which address was requested, and whether it is correct."

NETWORK_RULES = (
    measured(
        rule(
            Weight.FATAL,
            "",
            rf"^(?=(?:.*?{HOST})?).*?(?:Refused by Jobsite: |[Tt]unnel connection failed: 403"
            rf"|CONNECT tunnel failed, response 403|"
            r"Received HTTP code 403 from proxy|tunneling socket could not be established, statusCode=403|[Pp]roxy.*?\b403\b)",
            "The service's proxy refused a request of the build{to}.",
            HostRefused,
            examples=(
                "curl: (56) CONNECT tunnel failed, response 403",
                "urllib3: HTTPSConnectionPool(host='data.example.org', port=443): Tunnel connection failed: 403 Forbidden",
            ),
        ),
        Fact.HOST_WAS_REFUSED,
        "proxy-refusal-said",
        "A program reports that a proxy refused its request{to}, but the service's proxy refused none.",
        error=Unexplained,
        advice=LOOK,
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            rf"^(?=(?:.*?{HOST})?).*?(?:\b(?P<status>403|429|503)\b.{{0,40}}?(?i:error|forbidden|too many|unavailable|for url)|"
            r"(?i:HTTP|status|error|returned)[^\d]{0,20}(?P<code>403|429|503)\b)",
            "The build could not fetch what it needs from {host}, which answered with the status {status}{code}.",
            HostFailed,
            examples=(
                "requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://data.example.org/x.csv",
                "curl: (22) The requested URL returned error: 429 https://data.example.org/x.csv",
                "Traceback (most recent call last):\n    urlopen('https://data.example.org/x')\n"
                "urllib.error.HTTPError: HTTP Error 403: Forbidden",
            ),
        ),
        Fact.HOST_WAS_ASKED,
        "host-answer-said",
        "A program reports that {host} answered with the status {status}{code}, but the build did not ask that host through "
        "the service's proxy.",
        error=Unexplained,
        advice=LOOK,
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            rf"^(?=(?:.*?{HOST})?).*?{NO_TRUST}",
            "The build could not make a secure connection to {host}.",
            HostFailed,
            examples=(
                "requests.exceptions.SSLError: HTTPSConnectionPool(host='data.example.org', port=443): certificate verify failed",
            ),
        ),
        Fact.HOST_WAS_ASKED,
        "host-certificate-said",
        "A program reports that it could not make a secure connection to {host}, but the build did not ask that host through "
        "the service's proxy.",
        error=Unexplained,
        advice=LOOK,
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"(?i:could not resolve|couldn't resolve|unable to resolve|failed to resolve"
            r"|cannot resolve)(?: the)?(?: proxy)?(?: host(?:name)?)?"
            r"(?: address)?:? ['‘\"]?(?P<host>[\w-]+(?:\.[\w-]+)+)|getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?P<name>[\w.-]+)",
            "The build could not find the host {host}.",
            HostFailed,
            examples=("curl: (6) Could not resolve host: data.example.org", "Error: getaddrinfo EAI_AGAIN data.example.org"),
        ),
        Fact.HOST_WAS_ASKED,
        "host-not-found-said",
        "A program reports that it could not find the host {host}. A build reaches other hosts only through the "
        "service's proxy, and this build did not ask it for this one.",
        error=Unexplained,
        advice=LOOK,
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            r"^(?=.*?(?:https?://|host='|connect(?:ion)? to |connecting to |//)(?P<host>(?!127\.|0\.0\.)[\w-]+(?:\.[\w-]+)+))"
            r".*?(?i:connection (?:timed out|refused|reset|aborted)|timed? ?out|network is unreachable|max retries exceeded"
            r"|could not connect"
            r"|failed to connect|couldn't connect|could not get \S+ from:)",
            "The build could not connect to {host}.",
            HostFailed,
            examples=("curl: (28) Failed to connect to data.example.org port 443 after 130001 ms: Connection timed out",),
        ),
        Fact.HOST_WAS_ASKED,
        "host-not-reached-said",
        "A program reports that it could not connect to {host}, but the build did not ask that host through the service's proxy.",
        error=Unexplained,
        advice=LOOK,
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            rf"^(?=(?:.*?{HOST})?){UNKNOWN_NAME}",
            "The build could not find the host {host}.",
            HostFailed,
            examples=(
                "× error sending request for url (https://conda.example.org/a.json)\n"
                "  ├─▶ failed to lookup address information: Name or service not known",
            ),
        ),
        Fact.HOST_WAS_ASKED,
        "host-not-found-said",
        "A program reports that it could not find the host {host}. A build reaches other hosts only through the "
        "service's proxy, and this build did not ask it for this one.",
        error=Unexplained,
        advice=LOOK,
    ),
    rule(
        Weight.THROWN,
        "host-not-found-said",
        f"^{UNKNOWN_NAME}",
        "A program reports that it could not find a host. A build reaches other hosts only through the service's proxy.",
        Unexplained,
        severity=Severity.BROKEN,
        advice=LOOK,
        examples=("socket.gaierror: [Errno -3] Temporary failure in name resolution",),
    ),
    measured(
        rule(
            Weight.FATAL,
            "",
            rf"^(?=(?:.*?{HOST})?){BROKEN_OFF}",
            "The connection to {host} was lost.",
            HostFailed,
            examples=(
                "trying URL 'https://data.example.org/a.zip'\ncurl: (18) transfer closed with 901 bytes remaining to read",
            ),
        ),
        Fact.HOST_WAS_ASKED,
        "connection-broken-said",
        "A program reports that its connection to {host} was lost, but the build did not ask that host through the service's proxy.",
        error=Unexplained,
        advice=LOOK,
    ),
    rule(
        Weight.THROWN,
        "host-certificate-said",
        f"^.*?{NO_TRUST}",
        "A program reports that it could not make a secure connection to another host.",
        Unexplained,
        severity=Severity.BROKEN,
        advice=LOOK,
        examples=("curl: (60) SSL certificate problem: certificate has expired",),
    ),
    rule(
        Weight.THROWN,
        "host-answer-said",
        r"^(?:.*\b)?HTTP (?:[Ee]rror|[Ss]tatus|ERROR)?[ :]*(?:403|429|503)\b|(?i:rate limit exceeded)",
        "A program reports that another host refused its request.",
        Unexplained,
        severity=Severity.BROKEN,
        advice=LOOK,
        examples=("Error: Failed to install 'x' from GitHub:\n  HTTP error 403.\n  API rate limit exceeded for 192.0.2.1.",),
    ),
    rule(
        Weight.THROWN,
        "lfs-quota-said",
        r"(?i)\brepository (?:is over its data quota|exceeded its LFS budget)",
        "A program reports that a repository from which the build fetches files has used up its Git LFS quota.",
        Unexplained,
        advice="Fetch the files from somewhere else, or wait until the owner of that repository has more quota.",
        examples=("Smudge error: Error downloading a.csv: batch response: This repository is over its data quota.",),
    ),
    rule(
        Weight.THROWN,
        "connection-broken-said",
        f"^{BROKEN_OFF}",
        "A program reports that its connection to another host was lost.",
        Unexplained,
        severity=Severity.BROKEN,
        advice=LOOK,
        examples=("fatal: early EOF", "ConnectionResetError: [Errno 104] Connection reset by peer"),
    ),
)
