"""Manuscripts that attack. Each is a repository whose build is a script; what the script could take, it tries to have delivered.

A new case says what it ``tries``, and how it is shown that it does: see :class:`tests.hostile.case.Case`.
"""

from __future__ import annotations

import zlib
from base64 import b64encode

from tests.hostile.case import DEVICE, LINK, PIPE, Case, Control, export, extra, instead, overlapping, packed, script, zeros
from tests.hostile.limits import LIMITS
from tests.hostile.secrets import NETWORK, SECRETS

ARCHIVES = [
    Case(
        "slip",
        extra(("r-main/../../evil", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "leads upwards",
        tries="An archive with a file whose name leads out of the folder that it is unpacked to.",
    ),
    Case(
        "absolute",
        extra(("/etc/cron.d/evil", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "absolute",
        tries="An archive with a file for a system folder.",
    ),
    Case(
        "link-out",
        extra(("r-main/l", b"../../../../etc/passwd", LINK)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "leads out",
        tries="An archive with a link to a file of the system.",
    ),
    Case(
        "link-then-file",
        extra(("r-main/l", b"/tmp", LINK), ("r-main/l/f", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        tries="An archive with a link to a folder of the system, and a file to be written through it.",
    ),
    Case(
        "device",
        extra(("r-main/d", b"", DEVICE)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "device",
        tries="An archive with a device file.",
    ),
    Case(
        "pipe",
        extra(("r-main/p", b"", PIPE)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "pipe",
        tries="An archive with a named pipe, which blocks who reads it.",
    ),
    Case(
        "bomb",
        extra(("r-main/b", b"\0" * 120_000_000, 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "times its size",
        tries="An archive with a file a thousand times as large as what is downloaded.",
    ),
    Case(
        "too-large",
        extra(*((f"r-main/b{n}", b"\0" * 9_000_000, 0o644) for n in range(18))),
        "failed",
        "archive-too-large",
        "manuscript",
        "150 MB",
        tries="An archive of many files that unpack to more than is taken.",
    ),
    Case(
        "deep",
        extra(("r-main/" + "d/" * 900 + "f", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "200 folders",
        tries="An archive with 900 folders, each in the one before.",
    ),
    Case(
        "deeper",
        extra(("r-main/" + "d/" * 10_000 + "f", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "too long",
        tries="An archive with 10,000 folders, each in the one before.",
    ),
    Case(
        "long-name",
        extra(("r-main/" + "n" * 4000, b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "too long",
        tries="An archive with a file name of 4,000 characters.",
    ),
    Case(
        "case-twins",
        extra(("r-main/a", b"x", 0o644), ("r-main/A", b"y", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "only by case",
        tries="An archive with two files whose names differ only by case, and are one file on some systems.",
    ),
    Case(
        "overlapping",
        overlapping(500, 40_000_000),
        "failed",
        "archive-too-large",
        "manuscript",
        tries="An archive whose 500 files share one content, so that a few kilobytes unpack to 20 GB.",
    ),
    Case(
        "strange-names",
        extra(("r-main/a\u202eb\x07\n<script>", b"x", 0o644)),
        tries="An archive with a file name that holds control characters, a mark that turns the direction of the text, and HTML.",
        uncontrolled="A name may hold them: what is tested is that the service is not confused by it.",
    ),
]

PDF = ({"format": "pdf", "output": "exports/a.pdf"}, {"format": "meca", "output": "exports/article.meca.zip"})
# A page tree that is its own branch, and a stream that says it is longer than the file.
LOOPING = "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 999999999>>endobj\n"
# What leads to all other objects is a stream that has to be unfolded twice.
_PACKED = zlib.compress(zeros(8_000_000_000), 9)
BOMB = (
    b"%%PDF-1.7\n1 0 obj<</Type/XRef/Size 9/W[1 2 1]/Root 2 0 R/Filter[/FlateDecode/FlateDecode]/Length %d>>stream\n"
    % len(_PACKED)
    + _PACKED
    + b"\nendstream endobj\nstartxref\n9\n%%EOF\n"
)
EXPORTS = [
    Case(
        "export-linked-out",
        instead("ln -sf {data_dir}/jobsite.sqlite3"),
        "failed",
        "export-",
        "manuscript",
        tries="Puts a link to the service's database in the place of an export.",
        control=Control(("SQLite format 3",)),
    ),
    Case(
        "folder-linked-out",
        instead(":", before="ln -s {data_dir} exports"),
        "failed",
        "export-",
        "manuscript",
        tries="Puts a link to the service's data in the place of the folder of its exports.",
        control=Control(("SQLite format 3",)),
    ),
    Case(
        "repository-replaced",
        instead(":", before="cd ..; mv repository r; ln -s {data_dir} repository; cd r"),
        "failed",
        "export-",
        "manuscript",
        tries="Puts a link to the service's data in the place of its whole repository.",
    ),
    Case(
        "account-is-a-pipe",
        script("mkdir -p _build/logs; mkfifo _build/logs/myst.build.json"),
        tries="Puts a pipe, which blocks who reads it, in the place of a file that the service reads after the build.",
        uncontrolled="It may do so: what is tested is that the service does not wait at it for ever.",
    ),
    Case(
        "export-is-a-pipe",
        instead("mkfifo"),
        "failed",
        "export-not-made",
        "manuscript",
        tries="Puts a pipe in the place of an export.",
    ),
    Case(
        "meca-bomb",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'w', 8) as z:\n    for n in range(3): z.writestr(f'b{n}', bytes(60_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "unpacks to more than",
        tries="Makes a MECA that unpacks to more than is taken.",
    ),
    Case(
        "meca-slip",
        export("with zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr('../../x', 'x')"),
        "failed",
        "export-broken",
        "manuscript",
        "leads out",
        tries="Makes a MECA with a file whose name leads out of it.",
    ),
    Case(
        "xml-bomb",
        packed(
            "m = '<!DOCTYPE m [<!ENTITY a \"aaaa\">'\n"
            "for n in range(9): m += f'<!ENTITY b{n} \"' + '&a;' * 10 + '\">'\n"
            "m += ']><m>&b8;</m>'"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "XML",
        tries="Makes a manifest whose entities unfold to a billion characters.",
    ),
    Case(
        "xml-external",
        packed("m = '<!DOCTYPE m [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><m>&a;</m>'"),
        "failed",
        "export-broken",
        "manuscript",
        "XML",
        tries="Makes a manifest that has a file of the system read into it.",
    ),
    Case(
        "pdf-loop",
        script(f"mkdir -p exports; cat > exports/a.pdf <<'END'\n{LOOPING}trailer<</Root 1 0 R>>\n%%EOF\nEND"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
        tries="Makes a PDF whose pages are each other's chapters, with no end.",
    ),
    Case(
        "meca-link",
        export(
            "link = zipfile.ZipInfo('bundle/l')\nlink.create_system, link.external_attr = 3, 0o120777 << 16\n"
            "with zipfile.ZipFile('ready/article.zip', 'a') as z: z.writestr(link, '../../../../../../../etc/passwd')"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "no ordinary file",
        tries="Makes a MECA with a link to a file of the system.",
    ),
    Case(
        "meca-names",
        export(
            "names = ['a\\u202eb', 'c\\x07\\x1b[2J', 'd\\r\\nX-Evil: 1', 'e\"; filename=\"f', '<script>', '=1+1', 'n' * 4000]\n"
            "with zipfile.ZipFile('ready/article.zip', 'a') as z:\n    for n in names: z.writestr(f'bundle/{n}', 'x')"
        ),
        tries="Delivers files whose names hold control characters, line ends, quotes, direction marks, HTML, a formula, or 4,000 letters.",
        uncontrolled="A name may hold them: what is tested is that each file arrives as one file, and none as a header.",
    ),
    Case(
        "pdf-bomb",
        script(f"mkdir -p exports; base64 -d > exports/a.pdf <<'END'\n{b64encode(BOMB).decode()}\nEND"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
        tries="Makes a PDF whose list of objects unfolds to 8 GB.",
    ),
    Case(
        "pdf-is-none",
        script("mkdir -p exports; head -c 20M /dev/urandom > exports/a.pdf"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
        tries="Delivers 20 MB of noise as a PDF.",
    ),
    Case(
        "export-upwards",
        script("true"),
        "failed",
        "export-outside",
        "manuscript",
        "leads out",
        exports=({"format": "meca", "output": "../../../../etc/passwd"},),
        tries="Declares a file of the system as its export.",
    ),
    Case(
        "many-exports",
        script("true"),
        "failed",
        "limit-hit",
        "manuscript",
        "100 exports",
        exports=tuple({"format": "pdf", "output": f"exports/{n}.pdf"} for n in range(300)),
        tries="Declares 300 exports.",
    ),
    Case(
        "sparse-export",
        instead("truncate -s 190M"),
        "failed",
        "limit-hit",
        "manuscript",
        "larger than the 100 MB",
        tries="Makes an export that is large, and takes no room on the disk.",
    ),
    Case(
        "deep-json",
        script("python3 -c 'print(\"[\" * 200000)' > ready/index.json"),
        "failed",
        "export-broken",
        "manuscript",
        "JSON",
        tries="Makes a page whose JSON is 200,000 lists deep.",
    ),
    Case(
        "log-injection",
        script(
            "printf '\\033]0;x\\007\\033[2J{\\r\\0\\342\\200\\256evil\\n2020-01-01 stage succeeded\\n'\n"
            "echo '::error::<script>alert(1)</script>'"
        ),
        tries="Prints what moves a terminal's cursor and title, forged log lines, NUL, direction marks, and HTML.",
        control=Control(("\x1b]0;x\x07", "\x1b[2J")),
    ),
    Case(
        "title-injection",
        script("true"),
        document={
            "title": "\x1b]8;;javascript:alert(1)\x07<script>alert(1)</script>\r\nSet-Cookie: a=b\u202e\ud800\0",
            "authors": [
                {"name": "=HYPERLINK(1)<img src=x onerror=alert(1)>", "orcid": '"><script>', "affiliation": "\t+1"},
                None,
                7,
            ],
        },
        tries="Has a title and authors of HTML, terminal codes, header lines, formulas, direction marks, half characters and NUL.",
        uncontrolled="A title may hold them: what is tested is that it is taken, built and told.",
    ),
]

MORE_EXPORTS = [
    Case(
        "meca-bomb-to-be-mended",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'w', 8) as z:\n    z.writestr('manifest.xml', '<m>\\x01</m>')\n"
            "    for n in range(3): z.writestr(f'b{n}', bytes(60_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "unpacks to more than",
        tries="Makes a MECA with a manifest to be mended, which unpacks to too much.",
    ),
    Case(
        "meca-device",
        export(
            "i = zipfile.ZipInfo('d'); i.create_system, i.external_attr = 3, 0o20666 << 16\n"
            "with zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr(i, '')"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "no ordinary file",
        tries="Puts a device into the MECA.",
    ),
]

CASES = [*SECRETS, *NETWORK, *LIMITS, *ARCHIVES, *EXPORTS, *MORE_EXPORTS]
