"""Texts from a server that misbehaves: retries, refusals, odd replies, ceilings, several questions at a time."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from chat_server import KEY, Reply, Server, completion, is_check, serving

from hardneg.errors import HardnegError
from hardneg.generation import endpoint
from hardneg.generation.answers import ANSWERS, Answers
from hardneg.generation.cost import Budget
from hardneg.generation.generate import generate, open_writer
from hardneg.generation.settings import GenerationSettings
from hardneg.generation.types import Answer, Outcome, Question, Request

pytest.importorskip("openai", reason="needs the package openai: pip install '.[endpoint]'")

REQUESTS = [Request(position, position, f"query {position}", f"passage {position}") for position in range(6)]
VARIABLE = "TEST_OF_GENERATION_KEY"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def settings(server: Server, **own: object) -> GenerationSettings:
    given = {"model": "a-model", "endpoint": server.url, "api_key_env": VARIABLE, "per_query": 1, "self_check": False}
    return GenerationSettings.model_validate({**given, "backoff_seconds": 0.001, "retries": 2, **own})


def run(folder: Path, server: Server, requests: list[Request] = REQUESTS, **own: object) -> Outcome:
    folder.mkdir(exist_ok=True)
    chosen = settings(server, **own)
    return generate(requests, chosen, folder, open_writer(chosen))


def kept(folder: Path) -> int:
    return len(Answers.open(folder / ANSWERS).lines)


# --- good answers ---


def test_answers_are_taken_in_the_order_of_requests(tmp_path: Path, server: Server) -> None:
    outcome = run(tmp_path, server, self_check=True, max_new_tokens=77, seed=5, temperature=0.5, top_p=0.9)
    assert len(outcome.accepted) == 6 and [one.query for one in outcome.generated] == [0, 1, 2, 3, 4, 5]
    ask, check = (next(body for body in server.asked if is_check(body) is wanted) for wanted in (False, True))
    assert {name: value for name, value in ask.items() if name != "messages"} == {
        "model": "a-model", "max_tokens": 77, "seed": 6, "temperature": 0.5, "top_p": 0.9,
    }  # fmt: skip
    assert check["temperature"] == 0.0 and check["max_tokens"] == 8 and "top_p" not in check
    usage = outcome.usage
    assert (usage.asked, usage.input_tokens, usage.output_tokens, usage.uncounted) == (12, 240, 120, 0)


def test_what_a_server_does_not_want_to_hear_is_not_sent(tmp_path: Path, server: Server) -> None:
    own = {"temperature": None, "seed": None, "length_field": "max_completion_tokens", "self_check": True}
    run(tmp_path, server, REQUESTS[:1], **own)
    assert [set(body) for body in server.asked] == [{"model", "messages", "max_completion_tokens"}] * 2


def test_no_more_questions_at_a_time_than_parallel(tmp_path: Path, server: Server) -> None:
    server.slow = 0.03
    run(tmp_path / "three", server, parallel=3)
    assert server.most == 3
    server.most = 0
    run(tmp_path / "one", server, parallel=1)
    assert server.most == 1
    assert (tmp_path / "one" / ANSWERS).read_bytes() == (tmp_path / "three" / ANSWERS).read_bytes()


def test_a_rerun_needs_no_server_and_no_key(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(tmp_path, server).generated
    monkeypatch.delenv(VARIABLE)
    assert run(tmp_path, server).generated == before and len(server.asked) == 6
    with pytest.raises(HardnegError, match=VARIABLE):
        run(tmp_path / "new", server)


def test_the_key_is_stored_and_shown_nowhere(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, server)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert KEY not in "".join(capsys.readouterr())
    monkeypatch.setenv(VARIABLE, "sk-wrong")
    with pytest.raises(HardnegError) as caught:
        run(tmp_path / "wrong", server)
    assert "refuses the key" in str(caught.value) and VARIABLE in str(caught.value)
    assert "sk-wrong" not in str(caught.value) and "[key]" in str(caught.value)


# --- passing faults ---


def test_a_server_that_asks_for_a_pause_gets_it(tmp_path: Path, server: Server) -> None:
    server.faults = deque([Reply(429, '{"error": {"message": "slow down"}}', {"Retry-After": "0.3"})])
    started = time.monotonic()
    outcome = run(tmp_path, server, parallel=1)
    assert time.monotonic() - started >= 0.3  # never earlier than it was asked
    assert len(server.asked) == 7 and len(outcome.accepted) == 6 and outcome.usage.lost == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), (formatdate(0, usegmt=True), 0.0)],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert endpoint._wish({"retry-after": value}) == seconds
    assert endpoint._wish({}) is None


def test_a_date_in_the_future_is_waited_for() -> None:
    found = endpoint._wish({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert found is not None and 90 < found <= 100


def test_a_server_that_asks_for_hours_is_not_waited_for(tmp_path: Path, server: Server) -> None:
    server.always = Reply(429, "{}", {"Retry-After": "7200"})
    with pytest.raises(HardnegError, match="long pause"):
        run(tmp_path, server, parallel=1)
    assert len(server.asked) == 1


def test_pauses_grow_and_vary(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(server, backoff_seconds=2.0)
    asker = endpoint._Asker(chosen, Budget(chosen))
    pauses: list[float] = []
    monkeypatch.setattr(asker, "sleep", pauses.append)
    for attempt in (1, 2, 3, 20):
        asker.pause(attempt, endpoint._Fault("x"))
    for found, longest in zip(pauses, (2.0, 4.0, 8.0, 60.0), strict=True):
        assert longest / 2 <= found <= longest
    asker.pause(1, endpoint._Fault("x", pause=9.0))
    assert pauses[-1] == 9.0


def test_a_failing_server_is_asked_until_the_retries_are_over(tmp_path: Path, server: Server) -> None:
    server.always = Reply(503, "<html>over capacity</html>", {"Content-Type": "text/html"})
    with pytest.raises(HardnegError, match=r"no answer in 3 attempts[\s\S]*HTTP 503: <html>over capacity"):
        run(tmp_path, server, parallel=1)
    assert len(server.asked) == 3
    assert not (tmp_path / ANSWERS).exists()
    server.always = None
    assert len(run(tmp_path, server).accepted) == 6


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, "oops"),
        Reply(body="{not JSON"),
        Reply(body="<html></html>", headers={"Content-Type": "text/html"}),
        Reply(body='{"choices": []}'),
        Reply(body='{"choices": [{"message": {"content": 5}}]}'),
        Reply(body='{"error": {"message": "the model is loading"}}'),
        Reply(body="[]"),
        Reply(body="null"),
    ],
)
def test_one_bad_reply_is_asked_again(tmp_path: Path, server: Server, fault: Reply) -> None:
    server.faults = deque([fault])
    outcome = run(tmp_path, server, REQUESTS[:1])
    assert len(server.asked) == 2 and len(outcome.accepted) == 1
    assert outcome.usage.lost == (fault.status == 200)  # it was answered, so it may be billed


def test_bad_replies_to_the_end_say_what_came(tmp_path: Path, server: Server) -> None:
    server.always = Reply(body='{"choices": [], "note": "odd"}')
    with pytest.raises(HardnegError, match=r"no chat completion: .*odd"):
        run(tmp_path, server, REQUESTS[:1])
    assert len(server.asked) == 3


def test_a_silent_server_is_given_up_and_asked_again(tmp_path: Path, server: Server) -> None:
    server.faults = deque([Reply(delay=1.0)])
    outcome = run(tmp_path, server, REQUESTS[:1], timeout_seconds=0.2)
    assert len(outcome.accepted) == 1 and outcome.usage.lost == 1
    server.always = Reply(delay=1.0)
    with pytest.raises(HardnegError, match=r"no answer for 0\.1 seconds"):
        run(tmp_path, server, REQUESTS[1:2], timeout_seconds=0.1, retries=1)


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"no answer in 3 attempts[\s\S]*no connection"):
        run(tmp_path, Server(url="http://127.0.0.1:9/v1"), REQUESTS[:1])


# --- lasting faults ---


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Reply(403, "no"), "refuses the key"),
        (Reply(404, '{"error": {"message": "no model a-model"}}'), r"does not know the model[\s\S]*no model a-model"),
        (Reply(400, '{"error": {"message": "context too long"}}'), r"refuses a question[\s\S]*context too long"),
        (Reply(429, '{"error": {"code": "insufficient_quota"}}'), "account is empty"),
        (Reply(402, "pay"), "account is empty"),
    ],
)
def test_a_lasting_fault_ends_the_work_at_once_and_keeps_what_came(
    tmp_path: Path, server: Server, fault: Reply, said: str
) -> None:
    server.faults = deque([Reply(body=completion("first")), Reply(body=completion("second")), fault])
    with pytest.raises(HardnegError, match=said):
        run(tmp_path, server, parallel=1)
    assert len(server.asked) == 3 and kept(tmp_path) == 2
    assert len(run(tmp_path, server).accepted) == 6
    assert len(server.asked) == 3 + 4


def test_answers_under_way_are_kept_when_another_fails(tmp_path: Path, server: Server) -> None:
    server.faults = deque([Reply(400, "no"), *(Reply(body=completion(f"slow {n}"), delay=0.1) for n in range(3))])
    with pytest.raises(HardnegError, match="refuses a question"):
        run(tmp_path, server, parallel=4)
    asked = len(server.asked)
    assert asked - 1 == kept(tmp_path) <= 3  # all but the refused one, and no new ones after it
    run(tmp_path, server)
    assert len(server.asked) == 7  # each of the six was answered once, and one was refused before


def test_a_wrong_address(tmp_path: Path, server: Server) -> None:
    server.url = server.url.removesuffix("/v1")
    with pytest.raises(HardnegError, match="not at this address"):
        run(tmp_path, server)


# --- odd answers are recorded ---


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (completion("cut in the mid", finish="length"), "cut off at max_new_tokens"),
        (completion(None), "empty"),
        (completion("", finish="content_filter"), "ended by the server: content_filter"),
    ],
)
def test_odd_answers_are_recorded_once_and_rejected(tmp_path: Path, server: Server, body: str, reason: str) -> None:
    server.faults = deque([Reply(body=body)])
    assert run(tmp_path, server, REQUESTS[:1]).rejections == {reason: 1}
    assert run(tmp_path, server, REQUESTS[:1]).rejections == {reason: 1}
    assert len(server.asked) == 1


@pytest.mark.parametrize("usage", ["null", "{}", '{"prompt_tokens": "many", "completion_tokens": 1}'])
def test_tokens_that_are_not_counted_are_bounded(usage: str) -> None:
    question = Question(({"role": "user", "content": "a" * 100},), 1, 10, 0.7, 1.0, 13)
    body = '{"choices": [{"message": {"content": "seven b"}, "finish_reason": "stop"}], "usage": ' + usage + "}"
    assert endpoint.read_reply(body, question) == Answer("seven b", "stop", 116, 7, counted=False)


def test_missing_counts_are_told(tmp_path: Path, server: Server) -> None:
    server.usage = False
    assert run(tmp_path, server).usage.uncounted == 6


# --- cost ---

PRICED: dict[str, Any] = {
    "price_per_million_output": 1e6,
    "max_new_tokens": 50,
    "parallel": 1,
}  # an answer costs 10, at most 50


def test_a_ceiling_stops_before_it_is_passed_and_a_higher_one_asks_the_rest(tmp_path: Path, server: Server) -> None:
    whole = run(tmp_path / "whole", server, **PRICED)
    assert whole.usage.cost == 60.0
    server.asked.clear()
    with pytest.raises(
        HardnegError, match=r"3 questions of this step are not asked[\s\S]*30 spent[\s\S]*raise max_cost"
    ):
        run(tmp_path / "cut", server, max_cost=75.0, **PRICED)  # after three, 30 + 50 is more
    assert len(server.asked) == 3 and kept(tmp_path / "cut") == 3
    with pytest.raises(HardnegError, match="ceiling"):
        run(tmp_path / "cut", server, max_cost=75.0, **PRICED)
    assert len(server.asked) == 3  # what was spent before counts
    outcome = run(tmp_path / "cut", server, max_cost=1000.0, **PRICED)
    assert len(server.asked) == 6 and outcome.usage.cost == 60.0
    assert (outcome.usage.known, outcome.usage.asked) == (3, 3)
    assert (tmp_path / "cut" / ANSWERS).read_bytes() == (tmp_path / "whole" / ANSWERS).read_bytes()


@pytest.mark.parametrize("ceiling", [49.0, 60.0, 105.0, 109.0, 110.0, 1000.0])
def test_no_ceiling_is_ever_passed_whatever_runs_at_a_time(tmp_path: Path, server: Server, ceiling: float) -> None:
    server.faults = deque(Reply(body=completion(f"text {n}", usage=(9, 50))) for n in range(6))  # as dear as can be
    spent = 0.0
    try:
        spent = run(tmp_path, server, **{**PRICED, "parallel": 4, "max_cost": ceiling}).usage.cost
        assert ceiling == 1000.0
    except HardnegError:
        spent = 50.0 * kept(tmp_path)
        assert spent + 50.0 > ceiling  # nor stopped too early
    assert spent <= ceiling


def test_attempts_without_an_answer_count_against_the_ceiling(tmp_path: Path, server: Server) -> None:
    server.faults = deque([Reply(body="broken")])
    with pytest.raises(HardnegError, match=r"10 spent, and up to 50 for 1 attempts"):
        run(tmp_path, server, max_cost=100.0, **PRICED)
    assert len(server.asked) == 2


def test_an_estimate_is_told_before_anything_is_asked(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.always = Reply(400, "no")
    with pytest.raises(HardnegError):
        run(tmp_path, server, self_check=True, parallel=1, price_per_million_output=1e6, max_new_tokens=50)
    assert "12 questions to ask" in (told := capsys.readouterr().out)
    assert f"at most {6 * 50 + 6 * 8} output tokens, at most about 348" in told


# --- interruptions ---


def test_a_kill_in_the_middle_loses_nothing_that_was_kept(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", server, self_check=True)
    server.asked.clear()
    add = Answers.add
    added: list[str] = []

    def dying(self: Answers, key: str, question: Question, answer: Answer) -> None:
        if len(added) == 3:
            os.truncate(self.path, self.path.stat().st_size - 10)  # as a kill leaves the line that is being written
            added.append("torn")
        if "torn" in added:
            raise KeyboardInterrupt
        added.append(key)
        add(self, key, question, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", server, self_check=True, parallel=2)
    assert not [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")]
    asked = len(server.asked)
    outcome = run(tmp_path / "cut", server, self_check=True, parallel=2)
    assert outcome.usage.known == 2 and len(server.asked) - asked == 10
    assert (tmp_path / "cut" / ANSWERS).read_bytes() == (tmp_path / "whole" / ANSWERS).read_bytes()
