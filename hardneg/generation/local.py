"""Texts from a model on this machine: any causal language model of Transformers."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardneg.errors import HardnegError
from hardneg.generation.settings import GenerationSettings
from hardneg.generation.types import Answer, Keep, Question
from hardneg.stages.artifacts import file_digest
from hardneg.stages.model_folder import model_folder

if TYPE_CHECKING:
    from hardneg.generation.cost import Budget

READ = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")  # files of a model's folder that decide its texts


class LocalWriter:
    """Writes texts with a model on this machine, in batches that only the list of questions decides.

    On a CPU, the texts depend on the model, the questions, `batch` and the number of threads alone. The model is loaded
    when the first question is put.

    Args:
        settings: the model.
        device: a torch device, such as "cpu" or "cuda:0".
    """

    def __init__(self, settings: GenerationSettings, device: str = "cpu") -> None:
        self.settings, self.device = settings, device

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The name of the model and, if it is a folder, the digest of its files.

        Raises:
            HardnegError: see `local_model`.
        """
        files = model_files(self.settings)
        if files is None:
            given = {"model": self.settings.model, "revision": self.settings.revision}
            given["gguf_file"] = self.settings.gguf_file
            return {name: value for name, value in given.items() if value is not None}
        digest = hashlib.sha256("".join(f"{path.name} {file_digest(path)}\n" for path in files).encode())
        # A folder can be moved; its files tell what it is.
        return {"files": digest.hexdigest()}

    def write(self, questions: Sequence[Question], missing: Sequence[int], budget: Budget, keep: Keep) -> None:
        """Write the texts, block by block. A block that was interrupted is written again as a whole.

        So every text has the neighbours that it would have in uninterrupted work, on which its last digits depend.

        Raises:
            HardnegError: the model cannot be loaded.
        """
        wanted = set(missing)
        for start in range(0, len(questions), self.settings.batch):
            block = range(start, min(start + self.settings.batch, len(questions)))
            if wanted.isdisjoint(block):
                continue
            answers = self._model.answers([questions[position] for position in block])
            for position, answer in zip(block, answers, strict=True):
                if position in wanted:
                    keep(position, answer)

    @cached_property
    def _model(self) -> _Model:
        return _Model(self.settings, self.device)


class _Model:
    """A loaded model and its tokenizer."""

    def __init__(self, settings: GenerationSettings, device: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = local_model(settings) or settings.model
        if settings.gguf_file is not None and importlib.util.find_spec("gguf") is None:
            raise HardnegError(
                "A GGUF file needs the package gguf.",
                where=f"gguf_file: {settings.gguf_file}",
                remedy="pip install '.[generation]', in this project's folder, or name a folder with safetensors.",
            )
        given: dict[str, Any] = {"revision": settings.revision, "gguf_file": settings.gguf_file}
        given = {name: value for name, value in given.items() if value is not None}
        kind = torch.float32 if device == "cpu" else torch.bfloat16
        safe = {} if settings.gguf_file else {"use_safetensors": True}
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place, **given)
            model: Any = AutoModelForCausalLM.from_pretrained(place, dtype=kind, **safe, **given)
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as fault:
            raise HardnegError(
                "The language model could not be loaded.",
                where=f"model: {settings.model}",
                found=str(fault).strip().partition("\n")[0],
                expected="a causal language model of Transformers with its tokenizer, as safetensors or GGUF",
                remedy="correct the name. A model of the hub needs a connection; a folder needs none.",
            ) from None
        self.model, self.device = model.to(device).eval(), device
        self.tokenizer.padding_side = "left"  # so that all texts of a batch end where writing begins
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.convert_ids_to_tokens(0)

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to a block of questions that share their sampling settings.

        A prompt that leaves no room for the answer in the model's context is not put; its answer says `too_long`.
        """
        prompts = [self._ids(question) for question in questions]
        limit = getattr(self.model.config, "max_position_embeddings", None)
        room = None if limit is None else limit - questions[0].max_tokens
        fits = [position for position, ids in enumerate(prompts) if room is None or len(ids) <= room]
        found = [Answer("", "too_long", len(ids), 0) for ids in prompts]
        if fits:
            written = self._written(
                [prompts[position] for position in fits], [questions[position] for position in fits]
            )
            for position, answer in zip(fits, written, strict=True):
                found[position] = answer
        return found

    def _ids(self, question: Question) -> list[int]:
        if self.tokenizer.chat_template is not None:
            text = self.tokenizer.apply_chat_template(
                list(question.messages), tokenize=False, add_generation_prompt=True
            )
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        text = "\n\n".join(message["content"] for message in question.messages) + "\n\n"
        return list(self.tokenizer(text)["input_ids"])

    def _written(self, prompts: list[list[int]], questions: Sequence[Question]) -> list[Answer]:
        import torch

        batch = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self.device)
        ends = self._ends()
        first = questions[0]
        # The model's own defaults, such as a penalty on repetitions, must not join in: the settings say everything.
        self.model.generation_config = self._config(first, ends)
        names = "".join(f"{question.prompt_digest} {question.number} {question.seed}\n" for question in questions)
        seed = int.from_bytes(hashlib.sha256(names.encode()).digest()[:7], "big")
        devices = [torch.device(self.device)] if self.device != "cpu" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            rows = self.model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[
                :, batch["input_ids"].shape[1] :
            ].tolist()
        return [self._answer(ids, row, ends) for ids, row in zip(prompts, rows, strict=True)]

    def _ends(self) -> set[int]:
        """The ids that end an answer: those that the model names, and the tokenizer's."""
        named = self.model.generation_config.eos_token_id
        found = named if isinstance(named, list) else [named]
        return {int(one) for one in (*found, self.tokenizer.eos_token_id) if one is not None}

    def _config(self, question: Question, ends: set[int]) -> Any:
        from transformers import GenerationConfig

        sampling: dict[str, Any] = {"do_sample": False}
        if question.temperature:
            sampling = {"do_sample": True, "temperature": question.temperature, "top_p": question.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=question.max_tokens,
            eos_token_id=sorted(ends) or None,
            pad_token_id=self.tokenizer.pad_token_id,
            **sampling,
        )

    def _answer(self, prompt: list[int], row: list[int], ends: set[int]) -> Answer:
        end = next((place for place, token in enumerate(row) if token in ends), None)
        kept = row if end is None else row[:end]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        return Answer(text, "length" if end is None else "stop", len(prompt), len(kept) + (end is not None))


def model_files(settings: GenerationSettings) -> list[Path] | None:
    """The files of a model on this machine that decide its texts, or None for a name on the hub or a server's model.

    Raises:
        HardnegError: see `local_model`.
    """
    folder = local_model(settings) if settings.endpoint is None else None
    if folder is None:
        return None
    names = [settings.gguf_file] if settings.gguf_file else READ
    return sorted({path for name in names for path in folder.glob(name)})


def local_model(settings: GenerationSettings) -> Path | None:
    """The folder of a model on this machine, or None for a name on the hub.

    Raises:
        HardnegError: it looks like a path or a package, and is not there, or its GGUF file is not.
    """
    name = settings.model
    folder = model_folder(name, "model", "a folder with *.safetensors, or with a GGUF file that gguf_file names")
    if folder is None:
        return None
    if settings.gguf_file is not None and not (folder / settings.gguf_file).is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*.gguf"))) or "no GGUF file"
        raise HardnegError(
            "The language model's folder lacks the GGUF file.",
            where=f"gguf_file: {settings.gguf_file}",
            found=found,
            remedy="correct the name.",
        )
    if settings.gguf_file is None and not list(folder.glob("*.safetensors")):
        files = sorted(path.name for path in folder.glob("*.gguf"))
        raise HardnegError(
            "The language model's folder holds no weights that can be read.",
            where=f"model: {name}",
            found=", ".join(files) or "no *.safetensors",
            expected="*.safetensors, or a GGUF file that gguf_file names",
            remedy=f"set gguf_file to {files[0]}." if files else "save the model as safetensors.",
        )
    return folder
