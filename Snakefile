from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"
include: "rules/collection.smk"
include: "rules/bm25.smk"
include: "rules/generate.smk"
include: "rules/given.smk"
include: "rules/mine.smk"
include: "rules/train.smk"
include: "rules/encode.smk"
include: "rules/search.smk"
include: "rules/evaluate.smk"
include: "rules/analyse.smk"
include: "rules/report.smk"
include: "rules/export.smk"


rule all:
    default_target: True
    input:
        here(rules.write_report.output),


rule bm25:
    input:
        targets(PLAN, "bm25"),


rule warmup:
    input:
        targets(PLAN, "warmup"),


rule encode:
    input:
        targets(PLAN, "encode"),


rule generate:
    input:
        targets(PLAN, "generate"),


rule mine:
    input:
        targets(PLAN, "mine"),


rule star:
    input:
        targets(PLAN, "star"),


rule index:
    input:
        targets(PLAN, "index"),


rule adore:
    input:
        targets(PLAN, "adore"),


rule evaluate:
    input:
        here(rules.summarise_measures.output),


rule analyse:
    input:
        PLAN.analyses.manifests,


rule export:
    input:
        [stage.manifest for stage in PLAN.exports.values()],


rule report:
    input:
        here(rules.write_report.output),
