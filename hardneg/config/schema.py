"""The JSON schema of configuration files, which editors read.

`python -m hardneg.config.schema > config.schema.json` writes the file in the repository.
"""

from __future__ import annotations

import json
from typing import Any

from hardneg.config.config import Config
from hardneg.config.system import System
from hardneg.methods.axes import AXES, answers
from hardneg.methods.published import names


def schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, as it is written, before presets are filled in.

    It allows more than the models do. A file may lack keys that come from the file it `extends`, from a preset, or
    from `--config`.
    """
    whole = Config.model_json_schema()
    del whole["required"]
    whole["properties"] = {
        "extends": {"type": "string", "description": "the configuration file that this one changes, relative to it"},
        **whole["properties"],
    }
    whole["$defs"]["System"]["type"] = ["object", "null"]  # null removes a system of the extended file
    system = whole["$defs"]["System"]["properties"]
    system["preset"] |= {"anyOf": [{"enum": list(names())}, {"type": "null"}]}
    for key, axis in AXES.items():
        known = answers(key)
        one = [{"enum": list(known)}, *({"$ref": f"#/$defs/{answer.__name__}"} for answer in known.values())]
        several = [{"type": "array", "items": {"anyOf": one}}] if axis.several else []
        none = [{"type": "null"}] if System.model_fields[key].default is None else []
        system[key] = {"description": axis.question, "anyOf": [*one, *several, *none]}
    system["steps"] = {"description": "of a recipe: settings of its steps, by name", "type": "object"}
    return whole


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
