"""Rules for what myst prints about pictures, tables and formulas."""

from __future__ import annotations

from functools import partial

from builds.engine.diagnosis.rule import ADD_FILE, PDF, complaint
from builds.engine.findings import Severity

notice = partial(complaint, severity=Severity.NOTICE)

AS_PNG = "Save that image as PNG, JPEG, SVG or PDF, then submit again."
CONVERTED = "The image {name} could not be converted here, so the paper may lack it."

IMAGE_RULES = (
    complaint(
        "image-missing",
        r"Cannot find (?:image|asset for '\w+') \"(?P<name>.*?)\"",
        "{file} shows the image {name}, which is not in the repository{near}.",
        advice=ADD_FILE,
        examples=('⛔️ index.md:9 Cannot find image "figures/fig.png" in /w/repository',),
    ),
    complaint(
        "image-not-fetched",
        r"Error saving (?:image|asset for '\w+') \"(?P<name>[^\"]*)\": (?P<reason>.+)",
        "The image {name} could not be fetched from the web, so the paper lacks it.",
        advice="Put the image into the repository, then submit again.",
        examples=('⛔️ index.md Error saving image "https://x.org/a.png": fetch failed',),
    ),
    complaint(
        "image-not-converted",
        r"To convert image \"(?P<name>[^\"]*)\" you must install \w+",
        CONVERTED,
        advice=AS_PNG,
        examples=('⛔️ index.md To convert image "fig-8ca67ce3ac65cd6d09562fb136260c97.eps" you must install imagemagick.',),
    ),
    complaint(
        "svg-not-converted",
        r"To convert \.svg images to \.pdf, you must install \w+",
        "An SVG image on line {line} of {file} could not be converted for LaTeX, so the PDF may lack it.",
        advice="Save the image as PDF or PNG too, then submit again.",
        roles=PDF,
        examples=("⚠️  index.md:4 To convert .svg images to .pdf, you must install inkscape.",),
    ),
    complaint(
        "image-not-converted",
        r"(?:Could not (?:convert|extract)|Error writing notebook output).*?(?P<name>[^\s/:]+\.\w{3,4})\b.*",
        CONVERTED,
        advice=AS_PNG,
        examples=(
            "⛔️ _build/temp/x/fig-8ca67ce3ac65cd6d09562fb136260c97.eps Could not convert from EPS to PNG: _build/temp/x/fig.eps - Error: x",
        ),
    ),
    complaint(
        "image-format-unknown",
        r"Unsupported image extension \"(?P<name>[^\"]*)\" may not correctly render",
        "{file} shows an image of the format {name} on line {line}, which MyST can't show.",
        advice=AS_PNG,
        examples=('⛔️ index.md:9 Unsupported image extension ".bmp" may not correctly render.',),
    ),
    notice(
        "image-large",
        r"Image is too large \((?P<size>[^)]*)\)",
        "{file} is a large image ({size}).",
        examples=("⚠️  a.png Image is too large (12 MB) to convert to webp (build will be slow).",),
    ),
    complaint(
        "figure-empty",
        r"(?:container of kind (?P<what>\w+) contains no valid content|Figure with no non-caption content|Figure container must have).*",
        "The figure or table on line {line} of {file} contains only a caption.",
        examples=("⛔️ index.md:9 container of kind figure contains no valid content besides caption",),
    ),
    complaint(
        "figure-malformed",
        r"(?:container has multiple|container includes unexpected|unexpected figure content|Unable to render typst figure inside table|"
        r"Table container must have).*",
        "The figure or table on line {line} of {file} contains something that can't be shown there.",
        examples=("⛔️ index.md:9 container has multiple captions",),
    ),
    complaint(
        "table-uneven",
        r"(?:Uneven table found|Table row of size|Table alignment argument|Non-empty placeholder cell"
        r"|Unable to count table columns|invalid table).*",
        "The table on line {line} of {file} has rows of different lengths, so it may be printed incorrectly.",
        examples=("⚠️  index.md:9 Uneven table found, please check your rows to get an even table.",),
    ),
)

MATH_RULES = (
    complaint(
        "math-command-unknown",
        r"Undefined control sequence: (?P<name>\\\S+) at position.*",
        "A formula on line {line} of {file} uses {name}, which MyST does not know, so it is not printed as written.",
        advice="Use another command, or define it under `math` in the front matter, then submit again.",
        examples=("⛔️ index.md:9 Undefined control sequence: \\foo at position 1: \\underline{\\foo}",),
    ),
    complaint(
        "math-empty",
        r"No input for math node",
        "A formula on line {line} of {file} is empty.",
        examples=("⚠️  index.md:9 No input for math node",),
    ),
    complaint(
        "math-not-rendered",
        r"(?P<reason>(?:Expected .*|Got .*|Missing .*|Extra .*|Double (?:super|sub)script|Unknown .*|Invalid .*"
        r"|Limit controls .*|Function .*|"
        r"Unsupported .*|No such environment: .*|\\\w+ .*|Can't use function .*|Too many .*|Mismatch.*|Unexpected .*"
        r"|Accepting .*|.*) at (?:position \d+|end of input).*)",
        "A formula on line {line} of {file} can't be read, so it is not printed as written: {reason}",
        advice="Correct the formula, then submit again.",
        examples=(
            "⛔️ index.md:9 Expected 'EOF', got '}' at position 4: a^2}̲",
            "⛔️ index.md:9 Expected '}', got 'EOF' at end of input: a^{2",
        ),
    ),
    notice(
        "math-adjusted",
        r"(?:Replacing \\begin|Wrapping with \\begin|Alignment of \"|Unexpected AMS environment"
        r"|Mismatching begin/end environment|Math node is already labeled|"
        r"Labelling an unnumbered math|Cannot use \"\\label).*",
        "MyST changed or ignored a part of the formula on line {line} of {file}.",
        examples=("⚠️  index.md:9 Replacing \\begin{eqnarray} with \\begin{align*}",),
    ),
    notice(
        "math-doubtful",
        r"(?P<reason>(?:unicodeTextInMathMode|mathVsTextAccents|mathVsTextUnits|commentAtEnd|newLineInDisplayMode"
        r"|htmlExtension|unknownSymbol), .*)",
        "A formula on line {line} of {file} may be printed incorrectly: {reason}",
        examples=('⚠️  index.md:9 unicodeTextInMathMode, Unicode text character "é" used in math mode',),
    ),
)
