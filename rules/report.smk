ITEMS = names(set(BRIEF["parts"]))


rule write_report:
    input:
        measures=here(rules.summarise_measures.output),
        analyses=PLAN.analyses.manifests,
    output:
        page=report(local(f"{PLAN.results}/report.html"), category="Summary", labels={"what": "everything in one page"}),
        tables=[shown(name, "tables", "csv", *about) for name, shows, *about in ITEMS if shows != "figure"],
        figures=[shown(name, "figures", "svg", *about) for name, shows, *about in ITEMS if shows != "table"],
    log:
        f"logs/{PLAN.dataset}/write_report.log",
    benchmark:
        f"logs/{PLAN.dataset}/write_report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        brief=str(BRIEF_FILE),
        digest=BRIEF_DIGEST,
    shell:
        reporting("write_report", "page", "measures")
