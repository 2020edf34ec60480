"""What some options alone want, above all what speaks to the API; imported only then, as the API server's client is."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent.kernel.programs.start import Started
from agent.model.name import Problem
from agent.options.choices import L2Announce
from agent.options.config import Options
from agent.prepare import Prepared
from agent.reconcile.loop import Loop
from agent.threads import Threads
from agent.watch.mirror import Mirror
from agent.watch.source import Sources
from maps import abi
from maps.registry import open_table

if TYPE_CHECKING:
    from agent.announce.announcer import Announcer
    from agent.bgp.accepted_status import AcceptedWriter
    from agent.bgp.keeper import Keeper
    from agent.bgp.peer_status import PeerStatusWriter
    from agent.bgp.sessions import SessionState
    from agent.ipam.lb_allocator import Allocator
    from agent.kube.events import Events
    from agent.kube.servers import Servers
    from agent.watch.node.bgp_neighbour import NeighbourSource
    from agent.watch.node.bgp_password import PasswordSource


def servers(options: Options, prepared: Prepared, loop: Loop, threads: Threads) -> "Servers | None":
    """Who chooses among API servers; None where there is one way to it alone."""
    if not options.api_server or prepared.client is None:
        return None
    from agent.kube.servers import Servers  # noqa: PLC0415  as the module says

    return Servers(prepared.client, options.api_server, threads, serves=lambda: loop.status().synced)


def allocator(
    options: Options, prepared: Prepared, mirror: Mirror, cluster: Sources, threads: Threads
) -> "Allocator | None":
    """Who takes part in allocating load balancers' addresses; None without `--loadbalancer-pools`."""
    if not options.loadbalancer_pools or prepared.client is None:
        return None
    from agent.ipam import lb_allocator  # noqa: PLC0415  as the module says
    from agent.kube.leases import Election, Leases, Timing, identity  # noqa: PLC0415  as the module says

    timing = Timing()
    return lb_allocator.Allocator(
        prepared.client,
        Election(Leases(prepared.client, timing.request_s), lb_allocator.LEASE, identity(options.node_name), timing),
        threads,
        watch=cluster.watch_allocated,
        report=partial(mirror.report, lb_allocator.WATCH),
        on_problem=cluster.events.lb_problem if cluster.events else lambda *_: None,
    )


def announcer(
    options: Options, prepared: Prepared, mirror: Mirror, kernel: Started, threads: Threads
) -> "Announcer | None":
    """Who keeps this node among those that announce; None without `--l2-announce`."""
    if options.l2_announce is L2Announce.OFF or prepared.client is None:
        return None
    from agent.announce.announcer import Announcer  # noqa: PLC0415  as the module says

    return Announcer(
        prepared.client,
        options.node_name,
        open_table(abi.ANNOUNCING, kernel.move.new.maps),
        threads,
        on_live=mirror.set_announcers,
        report=partial(mirror.report, "announcer"),
    )


def bgp(
    options: Options,
    threads: Threads,
    report: Callable[[tuple[Problem, ...]], None],
    events: "Callable[[], Events | None]",
) -> "Keeper | None":
    """Who keeps BIRD; None without `--router`. *events* has who writes of sessions that are lost and come back."""
    if not options.router:
        return None
    from agent.bgp.keeper import Keeper  # noqa: PLC0415  as the module says

    def on_session(state: "SessionState", about: str) -> None:
        if writer := events():
            text = f"the session with {state.address}, AS {state.asn}, is {state.state}"
            error = f"; {state.error}" if state.error and not state.is_up else ""
            writer.bgp_session(about, f"{text}{error}", is_up=state.is_up)

    return Keeper(options.run_dir, options.node_name, threads, report, on_session)


def bgp_status(options: Options, prepared: Prepared, threads: Threads) -> "PeerStatusWriter | None":
    """Who writes BGPPeers' status; None without `--router`, and where there is no API server to write to."""
    if not options.router or prepared.client is None:
        return None
    from agent.bgp.peer_status import PeerStatusWriter  # noqa: PLC0415  as the module says

    return PeerStatusWriter(prepared.client, options.node_name, threads)


def bgp_accepted(options: Options, prepared: Prepared, threads: Threads) -> "AcceptedWriter | None":
    """Who writes whether BGP's resources are accepted; None as for bgp_status()."""
    if not options.router or prepared.client is None:
        return None
    from agent.bgp.accepted_status import AcceptedWriter  # noqa: PLC0415  as the module says

    return AcceptedWriter(prepared.client, options.node_name, threads)


def bgp_passwords(options: Options, mirror: Mirror, threads: Threads) -> "PasswordSource | None":
    """Who reads the passwords of BGP's peers; None without `--router`."""
    if not options.router:
        return None
    from agent.watch.node.bgp_password import PasswordSource  # noqa: PLC0415  as the module says

    return PasswordSource(options.bgp_password_dir, options.peer_router_passwords_file, mirror, threads)


def bgp_neighbours(
    options: Options, mirror: Mirror, keeper: "Keeper | None", threads: Threads
) -> "NeighbourSource | None":
    """Who finds BGP's peers that are named by their interfaces; None without `--router`."""
    if keeper is None:
        return None
    from agent.watch.node.bgp_neighbour import NeighbourSource  # noqa: PLC0415  as the module says

    return NeighbourSource(options.node_name, mirror, threads, keeper.at_interfaces)
