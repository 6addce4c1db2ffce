"""The known failures of both clouds by name, as they were seen in the field: `POST /_fake/failures/F4`."""

import json
from typing import Any

from autoscaler.fakes.faults import Answer, Call, Fault, Quirk, Spoil, Strict

_PROBLEM = "application/problem+json"
_FOR_LONG = 1_000_000


class Failure(Strict):
    """`says` describes it; the rest makes it happen. `vanish`: all machines end out of band; `restart`: all reboot."""

    says: str
    faults: list[Fault] = []
    behaviour: dict[str, Any] = {}
    vanish: bool = False
    restart: bool = False


def problem(status: int, detail: str, **headers: str) -> Answer:
    """RunPod's form of an error."""
    body = json.dumps({"title": "Error", "status": status, "detail": detail})
    return Answer(status=status, body=body, content_type=_PROBLEM, headers=headers)


def html(status: int, **headers: str) -> Answer:
    """What a proxy in front of an API says."""
    page = f"<html><head><title>{status}</title></head><body><h1>Sorry</h1></body></html>"
    return Answer(status=status, body=page, content_type="text/html", headers=headers)


def _faults(on: Call, *answers: Answer, times: int = 1, done: bool = False) -> list[Fault]:
    return [Fault(on=on, answer=answer, times=times, done=done) for answer in answers]


def _machine(quirk: Quirk) -> Fault:
    return Fault(on="create", quirk=quirk)


def _next_page(body: str, times: int = 1) -> Fault:
    return Fault(on="list", answer=Answer(status=200, body=body), times=times)


def _lists(spoil: Spoil, says: str, times: int = 1, on: Call = "list") -> Failure:
    return Failure(says=says, faults=[Fault(on=on, spoil=spoil, times=times)])


_ENDLESS_PODS = '{"pods":[],"pagination":{"hasNextPage":true,"nextCursor":"1"}}'
_ENDLESS_CONTRACTS = '{"success":true,"instances":[],"next_token":"1"}'
_WENT_WRONG = "Something went wrong. Please try again later or contact support."
_THREE_WINDOWS = {"RateLimit": '"minute";r=0;t=12, "hour";r=0;t=1812, "day";r=49500;t=45012', "Retry-After": "12"}

_BILLS = {
    "F53": Failure(says="bills one and a half times what was agreed", behaviour={"bill_factor": 1.5}),
    "F53-free": Failure(says="bills nothing", behaviour={"bill_factor": 0.0}),
    "F53-late": Failure(says="the bill is a day late", behaviour={"bill_lag_s": 86_400.0}),
    "F53-odd": Failure(says="the bill has rows that make no sense", behaviour={"bill_odd_rows": True}),
    "F53-500": Failure(says="the bill answers 500", faults=_faults("bill", html(500), times=_FOR_LONG)),
    "F53-empty": Failure(says="the bill answers {}", faults=_faults("bill", Answer(status=200, body="{}"))),
}
# What both clouds' lists and machines can have, without an error.
_ODD_ANSWERS = {
    "F40": _lists("empty", "list is empty once, by mistake"),
    "F40-half": _lists("half", "list omits every other machine, once"),
    "F41": _lists("no price", "list tells no price", _FOR_LONG),
    "F41-zero": _lists("price 0", "list tells a price of 0", _FOR_LONG),
    "F41-text": _lists("price as text", "list tells a price in words", _FOR_LONG),
    "F41-nan": _lists("price NaN", "list tells a price that is no number", _FOR_LONG),
    "F41-negative": _lists("price negative", "list tells a negative price", _FOR_LONG),
    "F41-absent": _lists("price absent", "list has no field for the price", _FOR_LONG),
    "F42": Failure(says="a machine is in another country than was sold", faults=[_machine("misplaced")]),
    "F42-gpu": Failure(says="a machine has another GPU than was sold", faults=[_machine("other_gpu")]),
    "F42-no-gpu": Failure(says="a machine has no GPU", faults=[_machine("no_gpu")]),
    "F43": _lists("status unknown", "list has a status that is not published", _FOR_LONG),
    "F43-null": _lists("status null", "list has no status", _FOR_LONG),
    "F44": _lists("stranger", "list has rows of somebody else's that cannot be read", _FOR_LONG),
    "F44-created": _lists("not created", "list does not tell when machines were created", _FOR_LONG),
    "F44-types": _lists("wrong types", "list has every field but id and name of a wrong kind", _FOR_LONG),
    "F44-unnamed": _lists("unnamed", "list has no names that can be read", 30),
    "F44-no-id": _lists("no id", "list has no ids", 30),
    "F44-twice": _lists("twice", "list has every row twice", _FOR_LONG),
    "F44-offers": _lists("wrong types", "offers have fields of a wrong kind", _FOR_LONG, on="offers"),
    "F48": Failure(
        says="the account's list has retired: 200 and no success",
        faults=_faults("list", Answer(status=200, body='{"success":false}'), times=_FOR_LONG),
    ),
    "F48-blank": Failure(
        says="the account's list has retired: 200 and an empty text",
        faults=_faults("list", Answer(status=200, body='""'), times=_FOR_LONG),
    ),
    "F48-nothing": Failure(
        says="the account's list has retired: 200 and no body",
        faults=_faults("list", Answer(status=200, body=""), times=_FOR_LONG),
    ),
    "F48-null": Failure(
        says="the account's list has retired: 200 and null",
        faults=_faults("list", Answer(status=200, body="null"), times=_FOR_LONG),
    ),
}
RUNPOD_FAILURES = (
    _ODD_ANSWERS
    | _BILLS
    | {
        "F42-trust": Failure(says="a pod is on a community host, sold as secure", faults=[_machine("community")]),
        "F45": Failure(
            says="the key may not create pods", faults=_faults("create", problem(403, "access denied"), times=_FOR_LONG)
        ),
        "F45-pool": Failure(
            says="the account may not use this pool",
            faults=_faults("create", problem(403, "Your account cannot access the requested pool.")),
        ),
        "F46": Failure(says="create answers after 9 s", faults=[Fault(on="create", hang_s=9.0, done=True)]),
        "F49": Failure(
            says="every page of the list names a next one",
            faults=[_next_page(_ENDLESS_PODS.replace("1", str(page))) for page in range(1, 151)],
        ),
        "F49-again": Failure(
            says="every page of the list names itself as the next one",
            faults=[_next_page(_ENDLESS_PODS, 150)],
        ),
        "F1": Failure(
            says="create finds no capacity, which only the prose of a 400 tells",
            faults=_faults(
                "create", problem(400, "There are no longer any instances available with these requirements.")
            ),
        ),
        "F4": Failure(
            says="create answers 500, and the pod exists",
            faults=_faults("create", problem(500, _WENT_WRONG), done=True),
        ),
        "F5": Failure(
            says="create's connection is cut, and the pod exists", faults=[Fault(on="create", cut=True, done=True)]
        ),
        "F5-unreadable": Failure(
            says="create answers 201 with half a body, and the pod exists",
            faults=_faults("create", Answer(status=201, body='{"id": "x'), done=True),
        ),
        "F5-timeout": Failure(says="create answers after 60 s", faults=[Fault(on="create", hang_s=60.0, done=True)]),
        "F6": Failure(says="new pods are listed 8 s late", behaviour={"list_lag_s": 8.0}),
        "F7": Failure(says="create gives an id, and no pod appears", faults=[Fault(on="create", quirk="never_listed")]),
        "F8": Failure(says="a pod stays PROVISIONING for ever", faults=[Fault(on="create", quirk="stuck")]),
        "F8-no-runtime": Failure(
            says="a pod is RUNNING, its runtime null for ever", faults=[Fault(on="create", quirk="no_runtime")]
        ),
        "F9": Failure(says="all pods vanish", vanish=True),
        "F10": Failure(says="DELETE answers 503 and does nothing", faults=_faults("terminate", html(503), times=3)),
        "F10-timeout": Failure(
            says="DELETE does nothing and does not answer for 60 s",
            faults=[Fault(on="terminate", hang_s=60.0, answer=html(504))],
        ),
        "F11": Failure(says="DELETE answers 409 while PROVISIONING", behaviour={"conflict_while_provisioning": True}),
        "F14-500": Failure(says="list answers 500", faults=_faults("list", problem(500, _WENT_WRONG), times=3)),
        "F14-401": Failure(says="list answers 401", faults=_faults("list", problem(401, "invalid bearer token"))),
        "F14-empty": Failure(says="list answers {}", faults=_faults("list", Answer(status=200, body="{}"))),
        "F14-null": Failure(says="list answers null", faults=_faults("list", Answer(status=200, body='{"pods":null}'))),
        "F14-page": Failure(
            says="list announces a second page and does not name it",
            faults=_faults("list", Answer(status=200, body='{"pods":[],"pagination":{"hasNextPage":true}}')),
        ),
        "F17": Failure(says="the image cannot be pulled", faults=[Fault(on="create", quirk="image_missing")]),
        "F18": Failure(says="every container's first process exits and is started again", restart=True),
        "F23": Failure(says="list went wrong, twice", faults=_faults("list", problem(500, _WENT_WRONG), times=2)),
        "F25": Failure(
            says="429 in three windows, with an HTML body", faults=_faults("list", html(429, **_THREE_WINDOWS))
        ),
        "F25-offers": Failure(
            says="the catalogue answers 429 and asks for two hours",
            faults=_faults("offers", html(429, **{"Retry-After": "7200"}), times=_FOR_LONG),
        ),
        "F25-end": Failure(
            says="DELETE answers 429 and asks for two hours, twice",
            faults=_faults("terminate", html(429, **{"Retry-After": "7200"}), times=2),
        ),
        "F25-day": Failure(says="ten calls are left of the day", behaviour={"day_calls_left": 10}),
        "F26": Failure(says="no money is left", behaviour={"balance_usd": 0.0}),
        "F26-create": Failure(
            says="create answers 402", faults=_faults("create", problem(402, "Insufficient balance."), times=_FOR_LONG)
        ),
        "F27": Failure(
            says="the key is revoked", faults=_faults("any", problem(401, "invalid bearer token"), times=_FOR_LONG)
        ),
        "F27-html": Failure(says="the edge forbids everything", faults=_faults("any", html(403), times=_FOR_LONG)),
        "F28": Failure(says="the API has retired", faults=_faults("any", problem(410, "Gone"), times=_FOR_LONG)),
        "F32": Failure(says="a pod costs three times its price", faults=[Fault(on="create", price_factor=3.0)]),
        "F34": Failure(says="a pod's own key may not end it", behaviour={"self_termination": False}),
    }
)


def refusal(status: int, error: str, msg: str) -> Answer:
    """Vast's form of an error."""
    return Answer(status=status, body=json.dumps({"success": False, "error": error, "msg": msg}))


def _too_frequent(threshold_s: float) -> Answer:
    text = f"API requests too frequent endpoint threshold={threshold_s}"
    return Answer(status=429, body=text, content_type="text/plain")


_NO_ASK = "error 404/3603: no_such_ask Instance type by id 5000001 is not available."
_UNREADABLE = Answer(status=200, body='{"success": tr')
VASTAI_FAILURES = (
    _ODD_ANSWERS
    | _BILLS
    | {
        "F45": Failure(
            says="the key may not rent",
            faults=_faults("create", refusal(403, "not_authorized", "This key lacks the permission instance_write.")),
        ),
        "F46": RUNPOD_FAILURES["F46"],
        "F49": Failure(
            says="every page of the list names a next one",
            faults=[_next_page(_ENDLESS_CONTRACTS.replace("1", str(page))) for page in range(1, 251)],
        ),
        "F49-again": Failure(
            says="every page of the list names itself as the next one",
            faults=[_next_page(_ENDLESS_CONTRACTS, 250)],
        ),
        "V10": Failure(says="a search gives what it does not ask for", behaviour={"filters_offers": False}),
        "V9": Failure(
            says="list answers null for the instances once all are destroyed",
            faults=_faults("list", Answer(status=200, body='{"success":true,"instances":null}'), times=_FOR_LONG),
        ),
        "V9-counted": Failure(
            says="list answers null for the instances and counts none",
            faults=_faults(
                "list",
                Answer(status=200, body='{"success":true,"instances":null,"total_instances":0}'),
                times=_FOR_LONG,
            ),
        ),
        "V3": Failure(
            says="DELETE answers 404 auth_error and does nothing",
            faults=_faults("terminate", refusal(404, "auth_error", "Invalid user key")),
        ),
        "V4": Failure(
            says="a refused purchase carries a contract that bills",
            faults=[Fault(on="create", quirk="refused_contract")],
        ),
        "V6": Failure(says="an instance's status stays null", faults=[Fault(on="create", quirk="stuck")]),
        "V6-unknown": Failure(says="an instance is unknown", faults=[Fault(on="create", quirk="unknown")]),
        "V6-offline": Failure(says="an instance is offline", faults=[Fault(on="create", quirk="offline")]),
        "V6-exited": Failure(says="an instance has exited", faults=[Fault(on="create", quirk="exits")]),
        "V6-oci": Failure(says="a container cannot be created", faults=[Fault(on="create", quirk="oci_error")]),
        "V7": Failure(says="429 in plain text", faults=_faults("list", _too_frequent(4.0))),
        "V7-rent": Failure(says="429 in plain text for a purchase", faults=_faults("create", _too_frequent(4.5))),
        "V7-search": Failure(
            says="the search answers 429 and demands two hours",
            faults=_faults("offers", _too_frequent(7200), times=_FOR_LONG),
        ),
        "V7-end": Failure(
            says="DELETE answers 429 and demands two hours, twice",
            faults=_faults("terminate", _too_frequent(7200), times=2),
        ),
        "V8": Failure(says="an offer is gone", faults=_faults("create", refusal(404, "invalid_args", _NO_ASK))),
        "V8-410": Failure(
            says="an offer is gone (410)",
            faults=_faults(
                "create", refusal(410, "no_such_ask", "error 410/3907: no_such_ask is no longer available.")
            ),
        ),
        "F4": Failure(says="rent answers 500, and the contract exists", faults=_faults("create", html(500), done=True)),
        "F5": Failure(says="rent's connection is cut, and the contract exists", faults=RUNPOD_FAILURES["F5"].faults),
        "F5-unreadable": Failure(says="rent answers half a body", faults=_faults("create", _UNREADABLE, done=True)),
        "F6": RUNPOD_FAILURES["F6"],
        "F7": RUNPOD_FAILURES["F7"],
        "F9": RUNPOD_FAILURES["F9"],
        "F10": RUNPOD_FAILURES["F10"],
        "F14-500": Failure(says="list answers 500", faults=_faults("list", html(500), times=3)),
        "F14-empty": RUNPOD_FAILURES["F14-empty"],
        "F14-null": Failure(
            says="list answers null",
            faults=_faults("list", Answer(status=200, body='{"success":true,"instances":null}')),
        ),
        "F14-page": Failure(
            says="list shows fewer instances than it counts",
            faults=_faults("list", Answer(status=200, body='{"success":true,"instances":[],"total_instances":2}')),
        ),
        "F17": RUNPOD_FAILURES["F17"],
        "F18": RUNPOD_FAILURES["F18"],
        "F26": RUNPOD_FAILURES["F26"],
        "F27": Failure(
            says="the key is revoked",
            faults=_faults("any", refusal(404, "auth_error", "Invalid user key"), times=_FOR_LONG),
        ),
        "F27-html": RUNPOD_FAILURES["F27-html"],
        "F28": Failure(
            says="the API has retired", faults=_faults("any", refusal(410, "gone", "Gone"), times=_FOR_LONG)
        ),
        "F32": RUNPOD_FAILURES["F32"],
        "F34": RUNPOD_FAILURES["F34"],
    }
)
