"""Exports that are made to harm whatever reads or delivers them."""

from __future__ import annotations

import zlib
from base64 import b64encode

from tests.hostile.case import Alone, Case, Cause, Control, export, instead, packed, script, zeros
from tests.support import bombs

PDF = ({"format": "pdf", "output": "exports/a.pdf"}, {"format": "meca", "output": "exports/article.meca.zip"})
# A page tree that contains itself.
LOOPING = "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 999999999>>endobj\n"
# The list of objects is a stream that is compressed twice.
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
        tries="Replaces an export by a link to the service's database.",
        control=Control(("SQLite format 3",)),
    ),
    Case(
        "export-linked-within",
        script("mkdir -p exports/a; echo '= Text' > jobsite.sqlite3; ln -s ../../jobsite.sqlite3 exports/a/b.typ"),
        exports=({"format": "typst", "output": "exports/a/b.typ"}, {"format": "meca", "output": "exports/article.meca.zip"}),
        tries="Makes an export a link inside the repository. Where exports are kept, it would lead to the service's database.",
        uncontrolled="An export may be a link. The test is that the file is delivered that it led to when it was checked.",
    ),
    Case(
        "folder-linked-out",
        instead(":", before="ln -s {data_dir} exports"),
        "failed",
        "export-",
        "manuscript",
        tries="Replaces the folder of its exports by a link to the service's data.",
        control=Control(("SQLite format 3",)),
    ),
    Case(
        "repository-replaced",
        instead(":", before="cd ..; mv repository r; ln -s {data_dir} repository; cd r"),
        "failed",
        "export-",
        "manuscript",
        tries="Replaces its whole repository by a link to the service's data.",
    ),
    Case(
        "account-is-a-pipe",
        script("mkdir -p _build/logs; mkfifo _build/logs/myst.build.json"),
        tries="Replaces a file that the service reads after the build by a pipe, which blocks every program that reads it.",
        uncontrolled="It is allowed to. The test is that the service does not wait for ever.",
    ),
    Case(
        "account-without-end",
        script('mkdir -p _build/logs; python3 -c \'print("[" + "[]," * 22_000_000 + "[]]")\' > _build/logs/myst.build.json'),
        tries="Fills a file that the service reads after the build with 22 million lists: 1.6 GB of memory, 20 seconds.",
        uncontrolled="It is allowed to. The test is that the service does not read it: it could not renew its lease meanwhile.",
    ),
    Case(
        "aliases-without-end",
        script(bombs.leave_aliases()),
        "failed",
        "project-file-invalid",
        "manuscript",
        "too complex to read",
        exports=({"format": "typst", "output": "exports/a.typ"},),
        tries="Leaves a project file of 2 kB whose aliases stand for 10^30 values, and prints what makes the service rewrite that file.",
    ),
    Case(
        "export-is-a-pipe",
        instead("mkfifo"),
        "failed",
        "export-not-made",
        "manuscript",
        tries="Replaces an export by a pipe.",
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
        tries="Makes a MECA that unpacks to more than the limit.",
    ),
    Case(
        "meca-slip",
        export("with zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr('../../x', 'x')"),
        "failed",
        "export-broken",
        "manuscript",
        "leads out",
        tries="Makes a MECA with a file name that leads out of its folder.",
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
        tries="Makes a manifest whose entities expand to a billion characters.",
    ),
    Case(
        "xml-external",
        packed("m = '<!DOCTYPE m [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><m>&a;</m>'"),
        "failed",
        "export-broken",
        "manuscript",
        "XML",
        tries="Makes a manifest that includes a system file.",
    ),
    Case(
        "pdf-loop",
        script(f"mkdir -p exports; cat > exports/a.pdf <<'END'\n{LOOPING}trailer<</Root 1 0 R>>\n%%EOF\nEND"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
        tries="Makes a PDF whose page tree contains itself.",
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
        "not an ordinary file",
        tries="Makes a MECA with a link to a system file.",
    ),
    Case(
        "meca-names",
        export(
            "names = ['a\\u202eb', 'c\\x07\\x1b[2J', 'd\\r\\nX-Evil: 1', 'e\"; filename=\"f', '<script>', '=1+1', 'n' * 4000]\n"
            "with zipfile.ZipFile('ready/article.zip', 'a') as z:\n    for n in names: z.writestr(f'bundle/{n}', 'x')"
        ),
        tries="Delivers files whose names contain control characters, line ends, quotes, HTML, a formula, or 4,000 letters.",
        uncontrolled="Such names are allowed. The test is that each file arrives as one file, and none as a header.",
    ),
    Case(
        "pdf-bomb",
        script(f"mkdir -p exports; base64 -d > exports/a.pdf <<'END'\n{b64encode(BOMB).decode()}\nEND"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
        tries="Makes a PDF whose list of objects unpacks to 8 GB.",
    ),
    Case(
        "pdf-of-noise",
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
        tries="Declares a system file as its export.",
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
        "larger than 100 MB",
        tries="Makes a large export that takes no space on the disk.",
    ),
    Case(
        "deep-json",
        script("python3 -c 'print(\"[\" * 200000)' > ready/index.json"),
        "failed",
        "export-broken",
        "manuscript",
        "JSON",
        tries="Makes a page of JSON with 200,000 nested lists.",
    ),
    Case(
        "meca-bomb-to-be-repaired",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'w', 8) as z:\n    z.writestr('manifest.xml', '<m>\\x01</m>')\n"
            "    for n in range(3): z.writestr(f'b{n}', bytes(60_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "unpacks to more than",
        tries="Makes a MECA whose manifest has to be repaired, and that unpacks to more than the limit.",
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
        "not an ordinary file",
        tries="Makes a MECA with a device file.",
    ),
    Case(
        "export-is-a-device",
        instead("mknod -m 666", before='mknod() { command mknod "$3" c 1 5 || ln -sf /dev/zero "$3"; }'),
        "failed",
        "export-",
        "manuscript",
        tries="Replaces an export by an endless device, or a link to one.",
    ),
    Case(
        "export-is-a-socket",
        instead("python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'"),
        "failed",
        "export-not-made",
        "manuscript",
        tries="Replaces an export by a socket.",
        alone=Alone(Cause("python-error", "manuscript", "Address family not supported"), "It can't create the socket."),
    ),
    Case(
        "export-is-a-sparse-monster",
        instead("truncate -s 7E"),
        "failed",
        "export-",
        "manuscript",
        tries="Makes an export of 8 million terabytes that takes no space on the disk.",
    ),
    Case(
        "meca-of-many-files",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'a') as z:\n    for n in range(120_000): z.writestr(f'bundle/{n}', '')"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "contains more than",
        tries="Makes a MECA of 120,000 files.",
    ),
    Case(
        "meca-deep",
        export("with zipfile.ZipFile('ready/article.zip', 'a') as z: z.writestr('bundle/' + 'd/' * 10_000 + 'f', 'x')"),
        tries="Delivers a file in 10,000 nested folders.",
        uncontrolled="Such names are allowed. The test is that it arrives as one file, and that its folders are not created.",
    ),
    Case(
        "meca-word",
        packed("m = b\"<m a='\" + bytes(80_000_000).replace(b'\\0', b'a')"),
        "failed",
        "export-broken",
        "manuscript",
        "larger than 67 MB",
        tries="Makes a manifest with an attribute of 80 MB, which a parser keeps in memory.",
    ),
    Case(
        "meca-other-compression",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'a', zipfile.ZIP_BZIP2) as z:\n"
            "    with z.open('bundle/b', 'w') as f:\n        for n in range(140): f.write(bytes(1_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "only Deflate is accepted",
        tries="Makes a MECA with a file in another compression, in which a few bytes unpack to the whole file at once.",
    ),
    Case(
        "meca-list-that-lies",
        export(
            "d = open('ready/article.zip', 'rb').read()\nat, end = d.index(b'PK\\x01\\x02'), d.rindex(b'PK\\x05\\x06')\n"
            "one = d[at : d.index(b'PK\\x01\\x02', at + 1)]\nmore = one * 300_000\n"
            "listed = (end - at + len(more)).to_bytes(4, 'little')\n"
            "open('ready/article.zip', 'wb').write(d[:end] + more + d[end : end + 12] + listed + d[end + 16 :])"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "contains more than",
        tries="Makes a MECA that lists 300,000 files but claims to list a few.",
    ),
]
