"""The languages that BM25 can analyse, and which of them texts are in.

The rule is simple, needs no model, and gives the same answer every time: letters tell the script, and in Latin script
the commonest words tell the language. What it is not sure of counts as English.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Language = Literal[
    "ar", "bn", "da", "de", "en", "es", "fa", "fi", "fr", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt",
    "ru", "sv", "te", "th", "tr", "uk", "zh",
]  # fmt: skip
LANGUAGES: tuple[str, ...] = get_args(Language)
DEFAULT = "en"

# Twenty to thirty of the commonest words of each language in Latin script.
COMMON = {
    "da": "og i at det er en til af på ikke der jeg med for den som de var et han har fra blev efter også eller",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus wird",
    "en": "the of and to in a is that for it as was with be by on not he this are or his from at which have an they",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me",
    "fi": "ja on ei se että oli hän mutta kun ovat tai niin myös joka sen hänen ole kuin olla mitä voi jos vain nyt",
    "fr": "de la le et les des en un du une que est dans qui pour par sur au il pas plus ne se ce avec sont à ou",
    "hu": "a az és hogy nem is egy meg ez csak de volt már mint azt vagy még el ha van ki szerint kell lehet sem mert",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga ke karena tersebut bisa ada mereka lebih",
    "it": "di e il la che in a per un del non è una con della si le da i come dei al nel più alla ha sono gli anche",
    "nl": "de van het een en in is dat op te zijn met die voor niet aan er om ook als dan maar bij nog uit door",
    "no": "og i det er på en til som av for at ikke med den jeg har de var et fra han ble etter også eller seg om hva",
    "pl": "w i na z się do nie jest to że o jak a po co ale za od są przez jego tak dla był już tylko czy które lub",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao das foi à é são ou ele",
    "sv": "och i att det som en på är av för med till den inte har de ett om han men var jag från vid kan också eller",
    "tr": "ve bir bu da de için çok ile ne o gibi daha olarak olan kadar sonra ama var en her değil mi ise ya olduğu",
}
_LISTS = {language: frozenset(words.split()) for language, words in COMMON.items()}
_SHARED = Counter(word for words in _LISTS.values() for word in words)

# Scripts by the first words of their letters' Unicode names. What is not here, such as Greek, is left to the default.
SCRIPTS = (
    "LATIN",
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "HANGUL",
    "THAI",
    "ARABIC",
    "DEVANAGARI",
    "BENGALI",
    "TELUGU",
    "CYRILLIC",
)
ONE_LANGUAGE = {"HANGUL": "ko", "THAI": "th", "DEVANAGARI": "hi", "BENGALI": "bn", "TELUGU": "te"}

LEAST_KANA = 0.05  # of the letters of a Japanese text; Chinese has none
LEAST_OWN = 0.01  # of letters that only one of the languages of a script writes
OWN = {"fa": "پچژگ", "uk": "іїєґ", "ru": "ыэё"}

LEAST_COMMON = 0.1  # of the words of a text; running text has about 0.2 and more
AHEAD = 1.3  # times as many as any other language has
CHARACTERS = 2000  # read of each text


class Detected(NamedTuple):
    """What texts seem to be written in.

    Attributes:
        language: one of `LANGUAGES`.
        why: what speaks for it, in words.
    """

    language: str
    why: str


def detect(texts: Iterable[str]) -> Detected:
    """The language that most of some texts are in; English unless another is clear.

    A script counts by the bytes of its letters in UTF-8, since three letters of Latin script say about as much as one
    of Chinese. So a Chinese text remains Chinese with many English names in it.

    Args:
        texts: a sample of the collection, of which the first `CHARACTERS` characters each are read.
    """
    letters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        read = unicodedata.normalize("NFC", text[:CHARACTERS].lower())
        letters.update(filter(str.isalpha, read))
        words.update(re.findall(r"[^\W\d_]+", read))
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[_script(letter)] += count * len(letter.encode())
    han = scripts.pop("CJK", 0)
    kana = scripts.pop("HIRAGANA", 0) + scripts.pop("KATAKANA", 0)
    scripts["HAN"] = han + kana
    total = scripts.total()
    script, most = max(scripts.items(), key=lambda item: (item[1], item[0]))
    if 2 * most <= total:
        return Detected(DEFAULT, "no script has more than half of the letters")
    if script == "LATIN":
        return _by_words(words)
    language = _by_letters(script, kana / most, letters)
    name = {"HAN": "Chinese characters and kana", "": "letters"}.get(script, f"{script.capitalize()} letters")
    if language is None:
        return Detected(DEFAULT, f"mostly {name} of no language that has an analyser of its own")
    return Detected(language, f"{name} are {most / total:.0%} of all letters, by their bytes")


def _script(letter: str) -> str:
    """The script of a letter; "" for those that have no part in the rule."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return first if first in SCRIPTS else ""


def _by_letters(script: str, kana: float, letters: Counter[str]) -> str | None:
    """The language of a script that is not Latin; None if it has no analyser."""
    if script == "HAN":
        return "ja" if kana >= LEAST_KANA else "zh"
    if script in ONE_LANGUAGE:
        return ONE_LANGUAGE[script]
    of_script = sum(count for letter, count in letters.items() if _script(letter) == script)

    def writes(language: str) -> bool:
        return sum(letters[letter] for letter in OWN[language]) >= LEAST_OWN * of_script

    if script == "ARABIC":
        return "fa" if writes("fa") else "ar"
    if script == "CYRILLIC":
        return next((language for language in ("uk", "ru") if writes(language)), None)
    return None


def _by_words(words: Counter[str]) -> Detected:
    """The language in Latin script whose common words are clearly ahead. A word of n languages counts 1/n in each."""
    total = max(words.total(), 1)
    shares = {
        language: sum(words[word] / _SHARED[word] for word in sorted(known)) / total
        for language, known in _LISTS.items()
    }
    best, second = sorted(shares, key=lambda language: (-shares[language], language))[:2]
    if shares[best] < LEAST_COMMON or shares[best] < AHEAD * shares[second]:
        return Detected(DEFAULT, "in Latin script, and the common words of no language are clearly ahead")
    return Detected(
        best, f"common words of {best} are {shares[best]:.0%} of all words, those of {second} {shares[second]:.0%}"
    )
