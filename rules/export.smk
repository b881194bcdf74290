EXPORT = StageRule(PLAN, "export")
EXPORTED = ("collection", "tokenizer", "tokens", "model", "passage_model", "passages", "index", "run", "measure")


rule export_system:
    input:
        collection=EXPORT.parent("collection"),
        tokenizer=EXPORT.parent("tokenizer"),
        tokens=EXPORT.parent("tokens"),
        model=EXPORT.parent("model"),
        passage_model=EXPORT.parent("passage_model"),
        passages=EXPORT.parent("passages"),
        index=EXPORT.parent("index"),
        run=EXPORT.parent("run"),
        measure=EXPORT.parent("measure"),
    output:
        manifest=EXPORT.manifest,
    log:
        f"{EXPORT.log}.log",
    benchmark:
        f"{EXPORT.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        record=EXPORT.record,
    shell:
        command("export_system", *EXPORTED)
