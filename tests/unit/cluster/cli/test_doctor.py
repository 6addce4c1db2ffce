"""Every complaint of the doctor comes with a way to mend it, and what is well is not complained of."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autoscaler.decisions.budget import Budget, Budgets
from cluster.cli import main
from cluster.config.schema import ApiAccessSettings, HttpSettings, Settings
from cluster.config.state_directory import StateDir
from cluster.doctor import checks
from cluster.doctor import probes as probes
from cluster.doctor.checks import BackendFacts, CloudFacts, Finding, MachineFacts, Verdict

GIB = 1 << 30
PACKAGES: dict[str, str | None] = {"ray": "2.60.0"}
PACKAGES |= dict.fromkeys(("av", "boto3", "fastapi", "torch", "torchvision"), "1.0")
WELL = MachineFacts(
    python=(3, 12),
    packages=PACKAGES,
    open_files=65536,
    memory_free=8 * GIB,
    disk_free=100 * GIB,
    temp_dir="/tmp",
    http_host="127.0.0.1",
    http_port=8000,
    port_taken=False,
    media_roots=("/",),
)


def test_a_fit_machine_is_not_complained_of() -> None:
    found = list(checks.machine_findings(WELL, works_here=True))
    assert {finding.verdict for finding in found} == {Verdict.GOOD}
    assert checks.is_fit(found)


@pytest.mark.parametrize(
    ("change", "subject", "verdict", "mend"),
    [
        ({"python": (3, 10)}, "Python", Verdict.BAD, "3.11 to 3.13"),
        ({"packages": {**PACKAGES, "ray": "2.49.1"}}, "Ray", Verdict.BAD, "ray==2.60"),
        ({"packages": {**PACKAGES, "ray": None}}, "Ray", Verdict.BAD, "ray==2.60"),
        ({"packages": {**PACKAGES, "ray": "2.61.0"}}, "Ray", Verdict.WARNING, "ray==2.60"),
        ({"packages": {**PACKAGES, "ray": "3.0.0.dev0"}}, "Ray", Verdict.WARNING, "ray==2.60"),
        ({"packages": {**PACKAGES, "av": None}}, "packages of a head", Verdict.BAD, "aima-media[head]"),
        ({"packages": {**PACKAGES, "torch": None}}, "packages of a worker", Verdict.BAD, "aima-media[worker]"),
        ({"open_files": 1024}, "open files", Verdict.WARNING, "ulimit -n"),
        ({"memory_free": GIB}, "memory", Verdict.WARNING, "end what else"),
        ({"disk_free": 2 * GIB}, "disk", Verdict.WARNING, "storage_uri"),
        ({"disk_free": GIB // 4}, "disk", Verdict.BAD, "storage_uri"),
        (
            {"temp_dir": "/a/very/long/path/that/nobody/should/have/as/temporary"},
            "temporary directory",
            Verdict.BAD,
            "/tmp",
        ),
        ({"port_taken": True}, "port", Verdict.BAD, "http.port"),
        ({"exposed": ["/x/tokens"]}, "secrets", Verdict.BAD, "chmod -R go= /x/tokens"),
        ({"http_host": "0.0.0.0"}, "TLS", Verdict.WARNING, "proxy"),
        ({"http_host": "0.0.0.0"}, "media.roots", Verdict.WARNING, "media.roots"),
    ],
)
def test_what_is_wrong_with_a_machine(change: dict[str, Any], subject: str, verdict: Verdict, mend: str) -> None:
    found = checks.machine_findings(dataclasses.replace(WELL, **change), works_here=True)
    complaints = {f.subject: f for f in found if f.verdict is not Verdict.GOOD}
    assert complaints[subject].verdict is verdict
    assert mend in complaints[subject].mend


def test_a_ray_that_has_moved_is_a_warning_that_names_the_patch() -> None:
    (finding,) = checks.patch_findings("auto", ["Ray runs without the patch serve_pacing: it has moved"])
    assert (finding.verdict, finding.detail) == (
        Verdict.WARNING,
        "Ray runs without the patch serve_pacing: it has moved",
    )
    assert "OPERATING.md" in finding.mend
    for mode in ("auto", "off"):
        (finding,) = checks.patch_findings(mode, [])
        assert finding.verdict is Verdict.GOOD
        assert ("off" in finding.detail) == (mode == "off")


def test_the_deepest_socket_below_an_accepted_temporary_directory_has_just_room() -> None:
    own = StateDir(Path("state")).ray_dir("aima-0123abcd").relative_to(tempfile.gettempdir())
    socket = own / "session_2026-01-01_00-00-00_000000_4194304" / "sockets" / "plasma_store.300"
    assert len(f"{'t' * checks.LONGEST_TEMP_DIR}/{socket}") == 107


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "words"),
    [(0.4, Verdict.GOOD, "within 1 s"), (9, Verdict.WARNING, "9 s behind"), (-300, Verdict.BAD, "300 s ahead of")],
)
def test_clocks(ahead_s: float, verdict: Verdict, words: str) -> None:
    (finding,) = checks.clock_findings({"the database": ahead_s, "runpod": None})
    assert (finding.verdict, words in finding.detail) == (verdict, True)


def told(facts: CloudFacts, **limits: Any) -> list[Finding]:
    return list(checks.cloud_findings(facts, Budgets(Budget(**limits))))


def test_a_cloud_is_asked_for_its_key_its_offers_and_against_the_budget() -> None:
    (refused,) = told(CloudFacts("runpod", "KeyRefused: RunPod needs an API key: set RUNPOD_API_KEY"))
    assert (refused.verdict, "RUNPOD_API_KEY" in refused.detail) == (Verdict.BAD, True)
    facts = CloudFacts("runpod", instances=1, cheapest={"gpu": 0.74, "big": None})
    good, gpu, big = told(facts, per_hour_usd=2.0)
    assert [good.verdict, gpu.verdict, big.verdict] == [Verdict.GOOD, Verdict.GOOD, Verdict.WARNING]
    assert gpu.detail == "from 0.74 USD/h"
    dear = told(facts, per_hour_usd=0.5)[1]
    assert dear.verdict is Verdict.BAD
    assert "the budget of 0.5 USD per hour" in dear.detail


def test_money_without_a_limit_is_warned_of() -> None:
    assert [f.verdict for f in checks.budget_findings(Budgets(Budget(per_hour_usd=1)), pays=True)] == [Verdict.WARNING]
    assert [f.verdict for f in checks.budget_findings(Budgets(Budget(per_day_usd=9)), pays=True)] == [Verdict.GOOD]
    assert [f.detail for f in checks.budget_findings(Budgets(), pays=False)] == ["nothing here costs money"]


@pytest.mark.parametrize(
    ("storage_uri", "api", "verdict"),
    [
        ("/home/me/storage", "https://rest.runpod.io/v1", Verdict.BAD),
        ("/home/me/storage", "http://127.0.0.1:8001", Verdict.GOOD),
        ("s3://bucket/prefix", "https://rest.runpod.io/v1", Verdict.GOOD),
    ],
)
def test_results_that_could_not_come_back_are_found_before_they_are_paid_for(
    storage_uri: str, api: str, verdict: Verdict
) -> None:
    assert checks.reach_finding(storage_uri, {"runpod": api}).verdict is verdict
    assert checks.reach_finding(storage_uri, {}).verdict is Verdict.GOOD


def test_a_key_in_clear_text_is_warned_of() -> None:
    assert checks.access_finding("http://aima.example", "").verdict is Verdict.WARNING
    assert checks.access_finding("http://127.0.0.1:8000", "").verdict is Verdict.GOOD
    assert checks.access_finding("https://aima.example", "").verdict is Verdict.GOOD
    assert checks.access_finding("https://aima.example", "does not answer").verdict is Verdict.BAD


def test_the_probes_look_at_the_real_things(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, http=HttpSettings(port=0)).resolved()
    facts = probes.look_at_machine(settings)
    assert facts.packages["ray"]
    assert (facts.disk_free > 0, facts.memory_free > 0, facts.port_taken) == (True, True, False)
    assert probes.look_at_database(settings, lambda: 0.0).error == ""
    assert probes.look_at_storage(settings).error == ""
    assert list((tmp_path / "storage").rglob("*.0*")) == []


def test_the_probes_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = Settings(
        state_dir=tmp_path,
        database_url="postgresql+psycopg://nobody:secret@127.0.0.1:9/none",
        storage_uri=str(tmp_path / "file" / "storage"),
        api=ApiAccessSettings(url="http://127.0.0.1:9", key_file=tmp_path / "file"),
    ).resolved()
    database = probes.look_at_database(broken, lambda: 0.0)
    assert database.error
    assert "secret" not in database.name + database.error
    assert "NotADirectoryError" in probes.look_at_storage(broken).error
    assert probes.look_at_access(broken)
    assert checks.backend_finding(database, "start it").mend == "start it"
    assert checks.backend_finding(BackendFacts("storage", "/s", 0.002), "").detail == "/s answers in 2 ms"
    tmp_path.chmod(0o755)
    assert probes.look_at_machine(broken).exposed == [str(tmp_path)]


def examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """`aima doctor --json` with these settings: its exit code and findings by subject."""
    for name in ("RUNPOD_API_KEY", "VAST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    own = {"HOME": str(tmp_path), "AIMA_STATE_DIR": str(tmp_path / "state"), "AIMA_HTTP__PORT": "0"}
    for name, value in (own | variables).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main.app, ["doctor", "--json"])
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ok"] == (done.exit_code == 0), done.output
    return done.exit_code, {finding["subject"]: finding for finding in report["findings"]}


def test_the_command_finds_this_machine_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, found = examined(monkeypatch, tmp_path)
    assert code == 0, found
    assert {"Python", "Ray", "database", "storage", "budgets"} <= set(found)
    assert examined(monkeypatch, tmp_path)[0] == 0  # it leaves nothing behind that it complains of


def test_the_command_says_what_a_cloud_lacks_before_money_is_spent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overlay = "{enabled: true, public_host: head.example.org, image: example.org/aima:1}"
    rented = {"AIMA_NODE_TYPES__GPU": "{clouds: [runpod]}", "AIMA_OVERLAY": overlay}
    code, found = examined(monkeypatch, tmp_path, **rented)
    assert code == 1
    assert "set RUNPOD_API_KEY" in found["runpod"]["detail"]
    nobody = {"RUNPOD_API_KEY": "rpa_secret", "RUNPOD_API_BASE_URL": "http://127.0.0.1:9"}
    code, found = examined(monkeypatch, tmp_path, **rented, **nobody)
    assert (code, found["runpod"]["verdict"]) == (1, "bad")
    assert "rpa_secret" not in json.dumps(found)
