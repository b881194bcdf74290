"""BM25 in other languages than English: what is detected, and what the analysers find that the English one misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import seal, stage_of

from hardneg.config import load
from hardneg.data.languages import COMMON, DEFAULT, LANGUAGES, detect
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from hardneg.retrieval import languages, lexical
from hardneg.stages.artifacts import Artifact

HEAP_MIB = 512
SETTINGS: dict[str, Any] = {"k1": 0.9, "b": 0.4, "threads": 1, "heap_mib": HEAP_MIB}

SENTENCES = {
    "ar": "تقع المكتبات الكبيرة في وسط المدينة، ويزورها الطلاب كل يوم.",
    "bn": "নদীর ধারে একটি ছোট গ্রাম আছে।",
    "da": "Byen ligger ved vandet og er en af de ældste, som blev bygget efter krigen, og der bor også mange til fods.",
    "de": "Die Stadt liegt an einem Fluss und ist für ihre alten Brücken bekannt, die man auch zu Fuß erreicht.",
    "en": "The town lies by a river and is known for its old bridges, which are easy to reach on foot.",
    "es": "La ciudad está junto al río y es conocida por los puentes que hay en el centro, pero no por las playas.",
    "fa": "شهر در کنار رودخانه است و پل‌های قدیمی آن را همه می‌شناسند. گربه‌ها",
    "fi": "Kaupunki on joen varrella ja se on tunnettu silloista, jotka ovat vanhoja, mutta hän ei ole käynyt siellä.",
    "fr": "La ville est au bord de la rivière, et les ponts que l'on y trouve sont connus dans le monde.",
    "hu": "A város a folyó partján van, és a régi hidak nem csak itt ismertek, hanem már az egész országban is.",
    "hi": "शहर नदी के किनारे है और उसके पुल पुराने हैं।",
    "id": "Kota ini berada di tepi sungai dan dikenal dengan jembatan tua yang bisa dilihat dari jauh.",
    "it": "La città è sul fiume e i ponti che si vedono dal centro sono più vecchi di quelli della costa.",
    "ja": "町は川のそばにあり、古い橋で知られています。",
    "ko": "마을은 강가에 있고 오래된 다리로 유명하다.",
    "nl": "De stad ligt aan een rivier en is bekend om de bruggen, maar er zijn ook veel musea die niet duur zijn.",
    "no": "Byen ligger ved elva, og jeg har ikke sett broene etter at de ble bygget, men hva gjør det.",
    "pl": "Miasto leży nad rzeką i jest znane z mostów, które są stare, ale nie tak jak te, co były tu przez wieki.",
    "pt": "A cidade fica na margem do rio e é conhecida pelas pontes, mas não são as mais antigas que há em Portugal.",
    "ru": "Город стоит на реке и известен мостами, которые были построены давно.",
    "sv": "Staden ligger vid vattnet och är känd för sina broar, men jag har inte sett den, och det kan man.",
    "te": "నది పక్కన ఒక చిన్న ఊరు ఉంది.",
    "th": "เมืองนี้อยู่ริมแม่น้ำและมีสะพานเก่า",
    "tr": "Şehir bir nehrin kıyısında ve köprüleri ile bilinir, ama daha eski olanlar da var ve bu çok güzel.",
    "uk": "Місто стоїть на річці і відоме мостами, які є дуже старими.",
    "zh": "这座城市在河边，以古老的桥梁闻名。",
}

# A passage with the answer, another one, and a question; only the collection's own analyser finds the answer, alone.
FOUND = {
    "zh": ("中国的首都是北京。", "中午的京剧很好看，国外的朋友也说好。", "北京"),
    "ja": ("京都の寺は古い。", "東京都庁は新宿にあります。", "京都"),
    "th": ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "แมวกินปลาในบ้าน", "เมืองหลวง"),
    "de": ("Im Dorf stehen alte Häuser am Wasser.", "Die Katze schläft auf dem Sofa.", "Haus"),
    "ar": ("المكتبات في المدينة كبيرة.", "القطة تنام في البيت.", "مكتبة"),
    "ko": ("서울은 대한민국의 수도이다.", "고양이가 집에서 잔다.", "수도"),
    "ru": ("В городе построили новые мосты.", "Кошка спит на диване.", "мост"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_detected_from_a_sentence_of_it(language: str) -> None:
    assert detect([SENTENCES[language]]).language == language


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["12345 0x1f ---"],
        ["def parse(text, encoding=None): return json.loads(text)", "numpy.ndarray dtype float32"],
        ["Το ποτάμι περνά από την πόλη."],  # Greek has no analyser in Anserini
        ["Градът е на брега на реката."],  # nor has Bulgarian, which is not analysed as Russian
        ["Město leží u řeky a je známé svými mosty."],
        ["The town has a river. 这座城市在河边。 It is known for the bridges that are old and easy to reach on foot."],
    ],
)
def test_what_is_not_clear_counts_as_english(texts: list[str]) -> None:
    assert detect(texts).language == DEFAULT


def test_a_chinese_text_with_many_english_names_is_chinese() -> None:
    assert detect(["服务器上如何安装和配置 Python, PyTorch, CUDA 以及常用的工具"]).language == "zh"


def test_lists_of_common_words_have_like_lengths_and_no_word_twice() -> None:
    lists = [words.split() for words in COMMON.values()]
    assert all(len(set(words)) == len(words) for words in lists)
    assert {20 <= len(words) <= 31 for words in lists} == {True}


def answers(folder: Path, language: str, passages: list[str], query: str) -> list[int]:
    index = folder / language
    lexical.build_index(passages, index, language=language, heap_mib=HEAP_MIB)
    [(positions, _)] = lexical.search(index, [query], 10, language=language, **SETTINGS)
    return positions.tolist()


@pytest.mark.parametrize("language", FOUND)
def test_answers_that_the_english_analyser_misses(tmp_path: Path, language: str) -> None:
    answer, other, query = FOUND[language]
    passages = [other, answer]
    assert detect(passages).language == language
    assert answers(tmp_path, language, passages, query) == [1]
    assert answers(tmp_path, "en", passages, query) != [1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_an_analyser_that_finds_a_sentence_by_itself(tmp_path: Path, language: str) -> None:
    assert answers(tmp_path, language, ["zzz", SENTENCES[language]], SENTENCES[language]) == [1]


def test_english_is_as_without_languages_also_after_another_one(tmp_path: Path) -> None:
    passages = ["The dogs are running.", "A cat.", "dog dog cat"]
    answers(tmp_path, "de", passages, "dog")
    lexical.build_index(passages, tmp_path / "plain", heap_mib=HEAP_MIB)
    lexical.build_index(passages, tmp_path / "en", language="en", heap_mib=HEAP_MIB)
    for query in ("the running dog", "cats"):
        [plain] = lexical.search(tmp_path / "plain", [query], 10, **SETTINGS)
        [other] = lexical.search(tmp_path / "en", [query], 10, language="en", **SETTINGS)
        assert [part.tolist() for part in plain] == [part.tolist() for part in other]
        assert len(plain[0]) > 0


def collection_of(folder: Path, texts: list[str], rows: int) -> Artifact:
    stage = stage_of(folder, {})
    table = pa.table({"passage_id": [str(n) for n in range(len(texts))], "title": [""] * len(texts), "text": texts})
    pq.write_table(table, stage.folder / "passages.parquet", row_group_size=rows)
    return seal(stage, ["passages.parquet"])


def test_the_sample_is_spread_over_the_collection(tmp_path: Path) -> None:
    """The first passages alone would say English."""
    texts = [SENTENCES["en"]] * 200 + [SENTENCES["de"]] * 1800
    assert languages.detected(collection_of(tmp_path / "mixed", texts, 100)).language == "de"
    assert languages.detected(collection_of(tmp_path / "one", texts[:1], 100)).language == "en"
    assert languages.detected(collection_of(tmp_path / "none", [], 100)).language == "en"


def versions(bm25: dict[str, Any]) -> dict[str, str]:
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": {"bm25": {"preset": "bm25"}}, "bm25": bm25}))
    return {stage.kind: stage.version for stage in plan.stages}


def test_a_set_language_is_part_of_the_version_and_none_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plain, german, french = versions({}), versions({"language": "de"}), versions({"language": "fr"})
    assert versions({"language": None}) == plain
    assert len({each["bm25_index"] for each in (plain, german, french)}) == 3
    assert len({each["bm25_run"] for each in (plain, german, french)}) == 3
    assert plain["collection"] == german["collection"]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(HardnegError, match=r"bm25\.language"):
        versions({"language": "xx"})
