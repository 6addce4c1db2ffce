"""`aima keys`: who may use the API, how often and for how much."""

from typing import Annotated

import typer
from rich.table import Table

from cluster.cli.terminal import ConfigOption, JsonFlag, console, finish
from cluster.config.loader import load_settings
from cluster.storage import api_keys
from serve_apps.store.keys import Scope

_USUAL = (Scope.READ, Scope.SUBMIT)
keys_app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
app = typer.Typer()
app.add_typer(keys_app, name="keys")


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the person or program that uses the key.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="Repeat it for several (default: read and submit).")] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Maximum requests per minute (default: no limit).")
    ] = None,
    budget_usd_per_month: Annotated[
        float | None, typer.Option(min=0, help="Monthly budget; beyond it the key cannot submit.")
    ] = None,
    valid_days: Annotated[
        float | None, typer.Option(min=0.001, help="Days until the key expires (default: never).")
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigOption = None,
) -> None:
    """Create a key. Its token is shown once; only a hash of it is stored."""
    with api_keys.open_keys(load_settings(config)) as opened:
        made = api_keys.create(opened, name, scope or _USUAL, requests_per_minute, budget_usd_per_month, valid_days)
    if not as_json:
        console.print(
            f"{made['id']} ({name}): {', '.join(made['scopes'])}. Its token, shown only now:", highlight=False
        )
        typer.echo(made["token"])
    finish(made, as_json)


@keys_app.command("list")
def show(as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """List all keys, revoked ones included, without their tokens."""
    with api_keys.open_keys(load_settings(config)) as opened:
        found = [api_keys.report(key) for key in opened.all()]
    table = Table("id", "name", "scopes", "a minute", "USD a month", "created", "ends")
    for key in found:
        ends = f"revoked {key['revoked_at']}" if key["revoked_at"] else key["expires_at"] or ""
        limits = [str(key[limit] or "") for limit in ("requests_per_minute", "budget_usd_per_month")]
        table.add_row(key["id"], key["name"], ", ".join(key["scopes"]), *limits, key["created_at"], ends)
    console.print(table)
    finish({"keys": found}, as_json)


@keys_app.command()
def revoke(key_id: str, as_json: JsonFlag = False, config: ConfigOption = None) -> None:
    """Revoke a key for good. The API refuses it within seconds."""
    with api_keys.open_keys(load_settings(config)) as opened:
        api_keys.revoke(opened, key_id)
    console.print(f"{key_id} is revoked", highlight=False)
    finish({"id": key_id, "revoked": True}, as_json)
