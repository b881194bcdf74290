"""The grammar: a system is one answer to each question; an answer is one file.

`base` says what an answer is and `axes` lists the questions. Each axis is a folder with one answer a file: a class with
the answer's name, settings, needs and provisions, and beside it the function that implements it. `draws` and `batch`
hold what travels between answers: what a source offers, what a sampler draws, what a loss sees. `presets/` names
published methods, one YAML each.
"""
