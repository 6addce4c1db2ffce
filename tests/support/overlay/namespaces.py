"""Hosts on one machine: network namespaces behind a NAT, as rented containers see the world.

`head` is the only host that anybody can dial, and only at one port. Each worker has a private address behind the
gateway, which lets out nothing but connections to that port, and lets in nothing at all.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

HEAD_ADDRESS = "10.77.0.1"
_GATEWAY_ADDRESS = "10.77.0.254"
_TOOLS = ("ip", "nft")


def missing() -> str:
    """Why namespaces cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if absent := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"these tools are not installed: {', '.join(absent)} (Debian: iproute2, nftables)"
    return ""


@dataclass
class Network:
    """The namespaces of one test. Names carry the process's id, so that runs side by side do not meet."""

    hub_port: int
    workers: tuple[str, ...]
    prefix: str = field(default_factory=lambda: f"aima{os.getpid()}")

    def namespace(self, host: str) -> str:
        """The namespace of `head`, `gateway` or a worker."""
        return f"{self.prefix}-{host}"

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on `host`."""
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def run(self, host: str, *command: str) -> str:
        """What the command prints on `host`. Raises CalledProcessError."""
        return _run(*self.command(host, command))

    def cut(self, worker: str) -> None:
        """Let nothing through between the worker and the gateway, without telling anybody."""
        self.run("gateway", "nft", "add", "element", "inet", "aima", "cut", f"{{ {self._interface(worker)} }}")

    def mend(self, worker: str) -> None:
        """Undo `cut`."""
        self.run("gateway", "nft", "delete", "element", "inet", "aima", "cut", f"{{ {self._interface(worker)} }}")

    def make(self) -> None:
        """Make everything."""
        for host in ("head", "gateway", *self.workers):
            _run("ip", "netns", "add", self.namespace(host))
            self.run(host, "ip", "link", "set", "lo", "up")
        self._link("head", f"{HEAD_ADDRESS}/24", "tohead", f"{_GATEWAY_ADDRESS}/24")
        for number, worker in enumerate(self.workers, start=1):
            self._link(worker, f"10.78.{number}.1/24", self._interface(worker), f"10.78.{number}.254/24")
            self.run(worker, "ip", "route", "add", "default", "via", f"10.78.{number}.254")
        self.run("gateway", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        subprocess.run(
            self.command("gateway", ["nft", "-f", "-"]), input=self._rules(), text=True, check=True, capture_output=True
        )

    def remove(self) -> None:
        """Remove everything, also after a failure half-way."""
        for host in ("head", "gateway", *self.workers):
            subprocess.run(["ip", "netns", "delete", self.namespace(host)], capture_output=True, check=False)

    def _interface(self, worker: str) -> str:
        return f"to{worker}"

    def _link(self, host: str, address: str, gateway_device: str, gateway_address: str) -> None:
        near, far = self.namespace(host), self.namespace("gateway")
        _run("ip", "link", "add", "eth0", "netns", near, "type", "veth", "peer", "name", gateway_device, "netns", far)
        self.run(host, "ip", "address", "add", address, "dev", "eth0")
        self.run(host, "ip", "link", "set", "eth0", "up")
        self.run("gateway", "ip", "address", "add", gateway_address, "dev", gateway_device)
        self.run("gateway", "ip", "link", "set", gateway_device, "up")

    def _rules(self) -> str:
        return f"""
        table inet aima {{
          set cut {{ type ifname; }}
          chain forward {{
            type filter hook forward priority 0; policy drop;
            iifname @cut drop
            oifname @cut drop
            ct state established,related accept
            oifname "tohead" ip daddr {HEAD_ADDRESS} tcp dport {self.hub_port} accept
          }}
          chain nat {{
            type nat hook postrouting priority 100;
            oifname "tohead" masquerade
          }}
        }}
        """


@contextlib.contextmanager
def network(hub_port: int, workers: Sequence[str]) -> Iterator[Network]:
    """The namespaces, until they are removed."""
    made = Network(hub_port, tuple(workers))
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
