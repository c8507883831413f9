"""All rules, in the order in which they are tried."""

from __future__ import annotations

from builds.engine.diagnosis import (
    commands,
    content,
    environment,
    exports,
    figures,
    languages,
    latex,
    network,
    packages,
    pixi,
    programs,
    project_file,
    references,
    templates,
    typst,
)
from builds.engine.diagnosis.rule_index import RuleIndex

# The first rule that matches a line is used, so specific rules come before general ones.
RULES = (
    *programs.SERVICE_RULES,
    *project_file.CONFIG_RULES,
    *templates.TEMPLATE_RULES,
    *commands.CALLED_RULES,
    *packages.PACKAGE_RULES,
    *typst.TYPST_RULES,
    *latex.LATEX_RULES,
    *templates.DEMAND_RULES,
    *exports.EXPORT_RULES,
    *exports.TOC_RULES,
    *content.FILE_RULES,
    *content.SYNTAX_RULES,
    *content.INCLUDE_RULES,
    *figures.IMAGE_RULES,
    *content.NOTEBOOK_RULES,
    *references.REFERENCE_RULES,
    *exports.PLUGIN_RULES,
    *figures.MATH_RULES,
    *project_file.FRONT_MATTER_RULES,
    *content.FALLBACK_RULES,
    *network.NETWORK_RULES,
    *pixi.PIXI_RULES,
    *environment.ENVIRONMENT_RULES,
    *commands.COMMAND_RULES,
    *languages.LANGUAGE_RULES,
    *programs.PROGRAM_RULES,
)
INDEX = RuleIndex(RULES)
