"""--notify: what a real webhook is sent, and that nothing it does is in a launch's way."""

import json
import socket
import threading
import time

import pytest
from webhook import listening

from orchestrator import Sweep, launch, machine
from orchestrator.errors import UnreachableError
from orchestrator.launching import notify
from orchestrator.launching.driver import InlineLauncher
from orchestrator.launching.monitor import Observer
from orchestrator.launching.notify import Notifier, message, send, shaped
from orchestrator.launching.rounds import Order
from orchestrator.store.records import Launch, TrialStatus
from orchestrator.sweep.sweep_spec import SweepSpec
from orchestrator.tracking.memory_tracker import MemoryTracker
from trainer.spec import TrialSpec

TEXT = """
name: tiny
base:
  {depth: 8, dataset: synthetic, image_size: 8, train_subset: 64, batch_size: 32, lr: 0.01}
axes: {trainable: [all, bn_only]}
seeds: 1
"""
LAUNCH = Launch(
    number=3, time_ms=0, host="node7", sweep=SweepSpec(name="tiny", trials=(TrialSpec(),))
)
GENERATED = "abcdefghijklmnopqrstuvwxyz"


class Remembering(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        if text.startswith("notify"):
            self.notes.append(text)


@pytest.fixture
def tell(tmp_path):
    """Launches the tiny sweep from Python and returns how it ended, what was noted and how long
    it took in seconds."""

    def tell(url, *overrides, **more):
        observer, begun = Remembering(), time.monotonic()
        outcome = launch(
            Sweep.parse(TEXT, "epochs=1", *overrides),
            store=tmp_path,
            tracker=MemoryTracker(),
            observer=observer,
            notify=url,
            **({"inline": True} | more),
        )
        return outcome, observer.notes, time.monotonic() - begun

    return tell


def trials(*states, epoch=0):
    return [TrialStatus(f"t{n}", state, 1, epoch) for n, state in enumerate(states)]


def test_a_launch_that_is_done_is_told_once(tell):
    with listening() as webhook:
        outcome, notes, _ = tell(webhook.url())
    assert notes == []
    (sent,) = webhook.messages
    text = sent.pop("text")
    me = machine.user_name()
    assert text == f"tiny: done: 2 finished (launch 1 by {me} on {socket.gethostname()})"
    assert sent == {
        "event": "done",
        "sweep": "tiny",
        "launch": 1,
        "user": me,
        "host": socket.gethostname(),
        "counts": outcome.counts,
        "exit_code": 0,
    }
    ((path, headers),) = webhook.requests
    assert path == "/hook/s3cret"
    assert headers["Content-Type"] == "application/json"


def test_failed_trials_are_told_while_the_others_still_run_and_at_the_end(tell):
    with listening() as webhook:

        class Slow(InlineLauncher):
            def run(self, tasks):
                super().run(tasks[:1])
                webhook.wait_for(1)
                super().run(tasks[1:])

        tell(webhook.url(), "lr=1e30", "resources.pack=off", launcher=Slow())
    first, last = webhook.messages
    assert (first["event"], first["exit_code"], first["counts"]["failed"]) == ("failed", None, 1)
    assert (last["event"], last["exit_code"], last["counts"]["failed"]) == ("failed", 1, 2)
    assert "ended with failed trials: 2 failed" in last["text"]


def test_what_failed_in_an_earlier_launch_is_no_news(tell):
    tell("off", "lr=1e30")
    with listening() as webhook:
        tell(webhook.url(), "lr=1e30")  # diverged: not tried again
    assert [sent["event"] for sent in webhook.messages] == ["failed"]  # how it ended


def test_a_launch_that_ends_with_an_error_is_told(tell):
    class Broken(InlineLauncher):
        def run(self, tasks):
            raise UnreachableError("the cluster at https://head/secret is gone")

    with listening() as webhook, pytest.raises(UnreachableError):
        tell(webhook.url(), launcher=Broken())
    (sent,) = webhook.messages
    assert (sent["event"], sent["exit_code"]) == ("failed", 3)
    assert "secret" not in json.dumps(sent)


def test_a_launch_whose_gpu_hours_are_spent_is_told(tell):
    with listening() as webhook:
        tell(webhook.url(), "epochs=100000", order=Order(max_gpu_hours=1 / 3600))
    (sent,) = webhook.messages
    assert (sent["event"], sent["exit_code"]) == ("budget", 4)
    assert "tiny: stopped, its GPU-hours are spent: 1 pending, 1 stopped (" in sent["text"]


def test_a_launch_stalls_once_until_a_trial_moves():
    with listening() as webhook, Notifier(webhook.url(), Observer(), stalled_s=0.2) as notifier:

        def looks(statuses):
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                notifier.update(statuses)
                time.sleep(0.02)

        notifier.started(LAUNCH, trials("pending", "pending"))
        looks(trials("running", "pending"))
        webhook.wait_for(1)
        notifier.update(trials("running", "pending", epoch=1))
        looks(trials("running", "pending", epoch=1))
        webhook.wait_for(2)
    assert [sent["event"] for sent in webhook.messages] == ["stalled", "stalled"]
    assert webhook.messages[0]["counts"]["running"] == 1


@pytest.mark.parametrize("answer", ["never", "trickle"])
def test_a_webhook_that_never_answers_costs_a_moment_and_a_line(tell, monkeypatch, answer):
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    _, _, without = tell("off")
    with listening(answer) as webhook:
        outcome, notes, took = tell(webhook.url())
    assert outcome.exit_code == 0
    assert took < without + 3.0
    assert notes == ["notify: 127.0.0.1 did not answer within 1 s; the launch is not affected"]


def test_a_webhook_that_is_slow_never_delays_a_look(monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 2.0)
    with listening("never") as webhook, Notifier(webhook.url(), Observer()) as notifier:
        notifier.started(LAUNCH, trials("running", "running"))
        begun = time.monotonic()
        notifier.update(trials("failed", "running"))
        assert time.monotonic() - begun < 1.0
        assert webhook.wait_for(1)
        webhook.over.set()


def test_a_webhook_that_is_not_there_is_one_line_for_all_messages():
    with socket.socket() as nobody:  # bound, and deaf
        nobody.bind(("127.0.0.1", 0))
        observer = Remembering()
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/hook/s3cret"
        with Notifier(url, observer) as notifier:
            notifier.started(LAUNCH, trials("running", "running"))
            notifier.update(trials("failed", "running"))
            while any(thread.name == "notify" for thread in threading.enumerate()):
                time.sleep(0.01)
            notifier.update(trials("failed", "failed"))
            notifier._post("failed", "ended", 1)
    line = "notify: 127.0.0.1 cannot be reached (Connection refused); the launch is not affected"
    assert observer.notes == [line]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(204, ""), (302, "answered 302"), (404, "answered 404"), (500, "answered 500")],
)
def test_any_answer_but_a_success_is_a_problem_and_nothing_is_led_elsewhere(answer, problem):
    with listening(answer) as webhook:
        assert send(webhook.url(), message("done", "done", LAUNCH, ())) == problem
    assert len(webhook.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://nobody.invalid/hook/s3cret",
        "http://127.0.0.1:1/hook/s3cret",
        "https://127.0.0.1:1/hook/s3cret?token=s3cret",
        "http://" + "a" * 70 + ".invalid/s3cret",  # no such name can be
        "http://[::1]:1/s3cret",
    ],
)
def test_no_problem_has_the_address_in_it(url):
    problem = send(url, message("done", "done", LAUNCH, ()))
    assert problem
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("url", "text_alone"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", True),
        ("https://hooks.slack-gov.com/services/T0/B0/x", True),
        (f"https://chat.example.org/hooks/{GENERATED}", True),
        (f"https://example.org/chat/hooks/{GENERATED}/", True),
        (f"https://example.org/hooks/{GENERATED}/more", False),
        ("https://example.org/hooks/mine", False),
        ("https://hooks.slack.com.example.org/services/T0/B0/x", False),
    ],
)
def test_slack_and_mattermost_get_a_text_alone(url, text_alone):
    content = message("done", "done", LAUNCH, trials("finished"))
    assert shaped(url, content) == ({"text": content["text"]} if text_alone else content)
    assert content["text"] == "tiny: done: 1 finished (launch 3 on node7)"


def test_mattermosts_shape_is_what_arrives():
    with listening() as webhook:
        send(webhook.url(f"/hooks/{GENERATED}"), message("done", "done", LAUNCH, ()))
    assert [list(sent) for sent in webhook.messages] == [["text"]]
