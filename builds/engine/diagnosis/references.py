"""Rules for what myst prints about citations, links, cross-references and footnotes."""

from __future__ import annotations

from functools import partial

from builds.engine.diagnosis.rule import MECA, Weight, complaint
from builds.engine.findings import Severity

notice = partial(complaint, severity=Severity.NOTICE)

ADD_ENTRY = "Correct the key, or add the entry to a .bib file of the project, then submit again."
ADD_DOI = "Check the DOI. If it is right, add the reference to a .bib file of the project, then submit again."
ADD_LABEL = "Correct the label, or add it to what it should refer to, then submit again."

REFERENCE_RULES = (
    complaint(
        "jats-reference-missing",
        r"unknown citation ref-\d+$",
        "The JATS article in the MECA does not list a reference that a page cites.",
        weight=Weight.ECHO,  # the comparison of the JATS with the pages finds it, with its place
        names_file=False,
        advice="MyST lists only those that the first page cites. Cite them there too, or put everything on one page.",
        roles=MECA,
        examples=("⛔️ _build/temp/mystX/article.xml unknown citation ref-4",),
    ),
    complaint(
        "citation-unknown",
        r"(?:Could not link citation with label \"(?P<cited>[^\"]*)\"|unknown citation (?P<name>\S+)"
        r"|Citation failed to render for label: (?P<label>\S+)).*",
        "The citation {cited}{name}{label} in {file} is not in any bibliography of the project, so the paper lacks the reference.",
        advice=ADD_ENTRY,
        examples=(
            '⚠️  index.md:9:53 Could not link citation with label "home_page".',
            "⛔️ _build/temp/mystX/article.xml unknown citation home_page",
        ),
    ),
    complaint(
        "doi-unknown",
        r"(?:Could not find DOI \"(?P<name>[^\"]*)\" from doi\.org"
        r"|Citation data from doi\.org was (?:not available or )?malformed(?: for doi:(?P<doi>\S+))?).*",
        "The reference {name}{doi} in {file} could not be looked up, so the paper lacks it.",
        advice=ADD_DOI,
        examples=(
            '⛔️ index.md:9 Could not find DOI "https://doi.org/10.1/x" from doi.org as doi:10.1/x',
            "⛔️ index.md:9 Citation data from doi.org was not available or malformed for doi:10.1/x",
        ),
    ),
    complaint(
        "doi-invalid",
        r"DOI is not valid: (?P<name>\S+)",
        "{name} in {file} is not a DOI.",
        advice="Correct it, then submit again.",
        examples=("⛔️ index.md:9 DOI is not valid: https://doi.org/x",),
    ),
    notice(
        "citation-duplicate",
        r"Duplicate citation with id: (?P<name>.+)",
        "The key {name} is in two bibliographies of the project, one of them {file}. MyST uses only one of the two entries.",
        advice="Keep one of the two.",
        examples=("⚠️  more.bib Duplicate citation with id: knuth1984",),
    ),
    complaint(
        "bibliography-missing",
        r"Bibliography file (?P<name>.+) not found",
        "The bibliography {name}, which {file} names, is not in the repository, so its references are missing.",
        advice="Add the file or correct its name, then submit again.",
        examples=("⚠️  myst.yml Bibliography file refs.bib not found",),
    ),
    complaint(
        "cross-reference-unresolved",
        r"(?:Cross reference target was not found: (?P<name>.+)|No target for internal reference \"(?P<label>[^\"]*)\" was found|"
        r"Cross-reference without an identifier|Link did not resolve to valid cross-reference: (?P<key>.+)).*",
        "The reference {name}{label}{key} on line {line} of {file} leads nowhere: nothing in the project has that label.",
        advice=ADD_LABEL,
        examples=(
            "⚠️  index.md:9:5 Cross reference target was not found: fig:none",
            '⚠️  index.md:9 No target for internal reference "#none" was found.',
        ),
    ),
    complaint(
        "reference-without-number",
        r"Reference for \"(?P<name>[^\"]*)\" uses .* in the template, but node is not numbered",
        "The reference {name} on line {line} of {file} is printed as ?? because what it refers to has no number.",
        advice="Turn its numbering on, or refer to it by its title, then submit again.",
        examples=('⚠️  index.md:9 Reference for "sec" uses %s in the template, but node is not numbered.',),
    ),
    complaint(
        "reference-text-empty",
        r"Cross reference text is empty for <undefined>",
        "A reference in {file} leads nowhere.",
        weight=Weight.ECHO,
        examples=("⚠️  role1.md Cross reference text is empty for <undefined>",),
    ),
    complaint(
        "link-text-empty",
        r"(?:Link text|Cross reference text) is empty for <(?P<name>[^>]*)>",
        "The link to {name} on line {line} of {file} has no text, so the paper shows none.",
        advice="Write a text into the brackets, then submit again.",
        examples=("⚠️  index.md:9 Link text is empty for <https://x.org>",),
    ),
    complaint(
        "link-invalid",
        r"(?:Could not parse url for \"(?P<name>[^\"]*)\"|Unknown project \"(?P<label>[^\"]*)\" for link"
        r"|\"(?P<key>[^\"]*)\" not found in (?:MyST project|intersphinx)|"
        r"Link has no URL|(?:RRID|ROR) is not valid: (?P<url>\S+)|Could not find ROR \"(?P<ror>[^\"]*)\").*",
        "The link {name}{label}{key}{url}{ror} on line {line} of {file} leads nowhere.",
        advice="Correct the link, then submit again.",
        examples=(
            '⛔️ index.md:9 Unknown project "numpy" for link: xref:numpy#a',
            "⚠️  index.md:9 RRID is not valid: https://scicrunch.org/x",
            '⛔️ index.md:4 Could not find ROR "0abc" from https://ror.org/0abc',
        ),
    ),
    complaint(
        "outside-references-unavailable",
        r"(?:Problem fetching references entry: |Unable to load reference \"|Unable to resolve (?:references|link text"
        r"|content)[^:]*: ?)(?P<name>[^\s\"]+).*",
        "The references to another project ({name}) could not be fetched, so links to it lead nowhere.",
        advice="Check the address under `references` in the project file. Builds may run without network access.",
        examples=("⛔️ myst.yml Problem fetching references entry: numpy (https://numpy.org/doc/objects.inv)",),
    ),
    notice(
        "link-unreachable",
        r"Link for \"(?P<name>[^\"]*)\" did not resolve.*",
        "The link to {name} on line {line} of {file} could not be opened.",
        advice="Check the link.",
        examples=('⛔️ index.md:9 Link for "https://x.org" did not resolve. (404, Not Found)',),
    ),
    notice(
        "link-style",
        r"(?:Linking \"|Legacy syntax used for link|Usage of the \{doc\} role|\"myst:\" prefix is deprecated|Wikipedia pagenames).*",
        "The link on line {line} of {file} is written in a way that may stop working.",
        advice="Write it as MyST's documentation says.",
        examples=("⚠️  index.md:9 Legacy syntax used for link target, please prepend a '#' to your link url: \"a\"",),
    ),
    complaint(
        "label-duplicate",
        r"(?:Duplicate identifier in (?:file|project) \"(?P<name>[^\"]*)\"|duplicate label \"(?P<label>[^\"]*)\" replacement).*",
        "The label {name}{label} is used in two places, one of them in {file}, so references to it may lead to the wrong one.",
        advice="Give one of the two another label, then submit again.",
        examples=('⚠️  index.md:9 Duplicate identifier in file "fig:a"', '⚠️  two.md Duplicate identifier in project "fig:a"'),
    ),
    notice(
        "label-replaced",
        r"label \"(?P<name>[^\"]*)\" replaced with \"(?P<label>[^\"]*)\"",
        "On line {line} of {file}, the label {name} was replaced by {label}.",
        advice="Keep one of the two labels.",
        examples=('⚠️  index.md:9 label "a" replaced with "b"',),
    ),
    complaint(
        "footnote-without-text",
        r"(?:No footnoteDefinition found for (?P<name>\S+)|FootnoteReference does not have an identifier"
        r"|Unknown footnote identifier \"(?P<label>[^\"]*)\").*",
        "The footnote {name}{label} on line {line} of {file} has no text.",
        advice="Add its text, as `[^name]: …`, then submit again.",
        examples=("⚠️  index.md:9 No footnoteDefinition found for note1",),
    ),
    complaint(
        "term-unknown",
        r"(?:Unknown (?:glossary entry|abbreviation entry) identifier \"(?P<name>[^\"]*)\""
        r"|Unknown \{term\} role with body: \"(?P<label>[^\"]*)\").*",
        "The term {name}{label} on line {line} of {file} is not in any glossary.",
        advice="Add it to the glossary, then submit again.",
        examples=('⛔️ index.md:9 Unknown glossary entry identifier "drying time"',),
    ),
    complaint(
        "glossary-malformed",
        r"(?:Unexpected node as a child of a glossary|Definition term has no associated description|Unexpected child in definitionList).*",
        "The glossary on line {line} of {file} contains something other than terms with their meanings.",
        examples=("⛔️ index.md:9 Unexpected node as a child of a glossary, expected only `definitionList` children",),
    ),
)
