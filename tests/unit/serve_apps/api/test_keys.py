"""API keys: what each scope may do, how often, for how much, and until when."""

import json

import pytest
from typer.testing import CliRunner

from cluster.cli.main import app
from serve_apps.api.auth import _REMEMBERED_S
from serve_apps.store.keys import Scope
from tests.support.product.service import Running, problem


def headers(service: Running, *scopes: Scope, **limits: float) -> dict[str, str]:
    _key, token = service.service.keys.create("ada", scopes, **limits)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_may_do_what_its_scope_says(service: Running, scope: Scope) -> None:
    own = headers(service, scope)
    body = {"media": str(service.media)}
    analysis_id = service.submit()["id"]
    allowed = {
        Scope.READ: service.http.get("/v1/analyses", headers=own).status_code == 200,
        Scope.SUBMIT: service.http.post("/v1/analyses", json=body, headers=own).status_code == 202,
        Scope.ADMIN: service.http.delete(f"/v1/analyses/{analysis_id}?forever=1", headers=own).status_code == 204,
    }
    assert allowed == {each: each is scope or scope is Scope.ADMIN for each in Scope}


def test_a_refusal_names_what_is_missing(service: Running) -> None:
    own = headers(service, Scope.READ)
    reply = service.http.post("/v1/analyses", json={"media": str(service.media)}, headers=own)
    assert "may read; this needs a key with the scope submit" in problem(reply, 403, None)["detail"]
    problem(service.http.get("/v1/export", headers=own), 403, None)


def test_a_revoked_key_is_refused_within_seconds(service: Running) -> None:
    own = headers(service, Scope.READ)
    assert service.http.get("/v1/analyses", headers=own).status_code == 200
    (key,) = service.service.keys.all()
    assert service.service.keys.revoke(key.id)
    assert not service.service.keys.revoke(key.id)
    service.clock[0] += _REMEMBERED_S + 0.1
    problem(service.http.get("/v1/analyses", headers=own), 401, None)


def test_a_key_ends_with_its_time(service: Running) -> None:
    own = headers(service, Scope.READ, expires_at=service.clock[0] + 1)
    assert service.http.get("/v1/analyses", headers=own).status_code == 200
    service.clock[0] += 1
    problem(service.http.get("/v1/analyses", headers=own), 401, None)


def test_a_rate_is_kept_and_recovers(service: Running) -> None:
    own = headers(service, Scope.READ, requests_per_minute=3)
    codes = [service.http.get("/v1/analyses", headers=own).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    reply = service.http.get("/v1/analyses", headers=own)
    assert int(reply.headers["retry-after"]) >= 20
    service.clock[0] += 20
    assert service.http.get("/v1/analyses", headers=own).status_code == 200
    assert service.http.get("/v1/analyses").status_code == 200  # the others are not held up


def test_a_spent_budget_takes_no_more(service: Running) -> None:
    own = headers(service, Scope.SUBMIT, budget_usd_per_month=1.0)
    body = {"media": str(service.media)}
    first = service.http.post("/v1/analyses", json=body, headers={**own, "Idempotency-Key": "k"})
    assert first.status_code == 202
    with service.service.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE analyses SET cost_usd = 1.5")
    assert (
        "has spent 1.50 of its 1.00 USD"
        in problem(service.http.post("/v1/analyses", json=body, headers=own), 402, None)["detail"]
    )
    again = service.http.post("/v1/analyses", json=body, headers={**own, "Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    service.clock[0] += 31 * 24 * 3600
    assert service.http.post("/v1/analyses", json=body, headers=own).status_code == 202


def test_idempotency_keys_of_two_keys_are_two(service: Running) -> None:
    body = {"media": str(service.media)}
    ids = {
        service.http.post("/v1/analyses", json=body, headers={**own, "Idempotency-Key": "k"}).json()["id"]
        for own in ({}, headers(service, Scope.SUBMIT), headers(service, Scope.SUBMIT))
    }
    assert len(ids) == 3


def test_the_database_holds_no_secret(service: Running) -> None:
    _key, token = service.service.keys.create("ada", [Scope.READ])
    secret = token.rsplit("_", 1)[1]
    with service.service.store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM api_keys").all()
    assert len(rows) == 1
    assert secret not in str(rows)


def test_keys_are_made_listed_and_revoked_on_the_command_line(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMA_STATE_DIR", str(tmp_path))

    def run(*arguments: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["keys", *arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout.splitlines()[-1]))

    made = run("create", "ada", "--scope", "read", "--requests-per-minute", "60")
    assert str(made["token"]).startswith(f"aima_{made['id']}_")
    listed = run("list")["keys"]
    assert listed == [{name: value for name, value in made.items() if name != "token"}]
    assert run("revoke", str(made["id"])) == {"id": made["id"], "revoked": True}
    assert run("list")["keys"][0]["revoked_at"]  # type: ignore[index]
