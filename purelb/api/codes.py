# SPDX-License-Identifier: Apache-2.0
"""Every `code` of a log line, as data: when it is written and what it means. Stable: people search and alert by them.

A line with `failure` carries `error`, and where they apply `errorType`, `attempt`, `retryIn`, `took` (seconds). The page of
the manual is made from this table; a test finds each code of the sources here and each row in the sources. Codes that
PureLB (Go) writes too keep their name.
"""

from typing import Final, Literal

from msgspec import Struct


class Code(Struct, frozen=True):
    """One code. `who`: the component, `process` for both, `kube` for the runtime they share."""

    code: str
    who: Literal["process", "kube", "allocator", "lbnodeagent"]
    means: str
    failure: bool = False
    level: Literal["info", "debug"] = "info"


def _row(
    who: Literal["process", "kube", "allocator", "lbnodeagent"],
    code: str,
    means: str,
    *,
    failure: bool = False,
    level: Literal["info", "debug"] = "info",
) -> Code:
    return Code(code, who, means, failure, level)


CODES: Final[tuple[Code, ...]] = (
    _row(
        "process",
        "starting",
        "The first line: version, revision, Python, kernel, settings that differ from the default.",
    ),
    _row("process", "listening", "The listener for metrics and health stands."),
    _row("process", "acceptFailed", "A connection to the listener could not be accepted.", failure=True),
    _row("process", "handshakeFailed", "A connection to the listener did not come to be.", failure=True, level="debug"),
    _row("process", "pageFailed", "A page of the listener could not be made.", failure=True),
    _row(
        "process",
        "reviewFailed",
        "The token of who asks for /metrics could not be reviewed: they get 503.",
        failure=True,
    ),
    _row("process", "tlsReloaded", "The certificate of the listener was read again."),
    _row(
        "process",
        "tlsReloadFailed",
        "The new certificate of the listener cannot be used; the old one stays in force.",
        failure=True,
    ),
    _row("process", "stateSocketFailed", "There is no state socket; the process goes on without.", failure=True),
    _row("process", "phaseChanged", "The process entered another phase."),
    _row(
        "process", "selfCheckFailed", "Something this process needs is missing; `hint` says what to do.", failure=True
    ),
    _row("process", "stopping", "A signal asked for a graceful shutdown."),
    _row("process", "shutdownStepCut", "A step of the shutdown took too long; `left` was not done."),
    _row("process", "stopped", "The shutdown is complete."),
    _row("process", "stoppedAtOnce", "A second signal: ended without the rest of the shutdown."),
    _row("process", "stateDump", "The state, asked for by SIGUSR1: phase, checks, every task and where it waits."),
    _row("process", "levelChanged", "SIGUSR2 toggled debug, or its 15 minutes are over."),
    _row("process", "taskEnded", "A task returned unasked: the process ends with exit code 5.", failure=True),
    _row("process", "taskDied", "A task raised: the process ends with exit code 5; `trace` says where.", failure=True),
    _row("process", "linesSuppressed", "So many lines were left out in the last minute: more than 50 a second."),
    _row("process", "library", "A library warned about something; `logger` names it."),
    _row("kube", "leading", "This process acquired the lease and leads."),
    _row("kube", "notLeading", "Leadership was lost; `why` is taken, deleted or deadline."),
    _row("kube", "leaseFailed", "A request for a lease failed.", failure=True),
    _row("kube", "caReloaded", "The certificate authority of the cluster was replaced on disk and is in force."),
    _row(
        "kube", "accessReloadFailed", "Credentials could not be read again; the old ones stay in force.", failure=True
    ),
    _row("kube", "tlsNotVerified", "The kubeconfig turns the verification of the API server's certificate off."),
    _row("kube", "handlerRaised", "A mistake of ours in taking in a change; the others got it.", failure=True),
    _row("kube", "stepRaised", "A mistake of ours in a turn of the owner; its key is tried again.", failure=True),
    _row("kube", "replyRaised", "A mistake of ours in taking in the result of a write.", failure=True),
    _row("kube", "writeImpossible", "A mistake of ours: a write that no request can express.", failure=True),
    _row("kube", "eventFailed", "An Event could not be written; nothing depends on it.", failure=True),
    _row("kube", "eventsUnsent", "The process ended with Events that were not sent."),
    _row("kube", "undecodable", "An object cannot be read; what was known of it stays in force.", failure=True),
    _row("kube", "listFailed", "A list failed; it is tried again, with growing pauses.", failure=True),
    _row("kube", "watchFailed", "A watch failed; it is opened again, with growing pauses.", failure=True),
    _row("kube", "watchGarbled", "A watch said something that is no event; everything is listed again.", failure=True),
    _row("kube", "auditFailed", "The comparison with the API server failed; it is tried again.", failure=True),
    _row(
        "kube", "auditDifferences", "Objects were otherwise than any event had said: a mistake of ours or the server's."
    ),
    _row(
        "kube", "resourceMissing", "The API server does not know this resource: its CRD is not applied.", failure=True
    ),
    _row("kube", "initialStateWaits", "The API server is slow to send what exists."),
    _row("kube", "initialStateMissing", "The API server never said that all was sent; it is listed instead."),
    _row("kube", "foreignEvent", "A watch brought an object of another kind; it was skipped."),
    _row("kube", "unknownEvent", "A watch brought an unknown type of event; it was skipped."),
    _row(
        "kube",
        "watchExpired",
        "The version to go on from is gone; everything is listed again.",
        failure=True,
        level="debug",
    ),
    _row("kube", "watchIdle", "A watch fell silent and was opened again.", failure=True, level="debug"),
    _row(
        "kube", "watchOutlived", "A watch lasted longer than it may and was opened again.", failure=True, level="debug"
    ),
    _row("kube", "shortWatch", "A watch ended at once.", failure=True, level="debug"),
    _row("kube", "relist", "Everything is listed again, as somebody asked.", level="debug"),
    _row("kube", "loopHeld", "A turn of the owner held the loop for more than 100 ms.", level="debug"),
    _row("kube", "keyRetried", "A turn of the owner is to be tried again.", level="debug"),
    _row("kube", "turnEnded", "A turn of the owner: its key, outcome and duration.", level="debug"),
    _row("kube", "apiCall", "A call of the API server: method, path, status and duration.", level="debug"),
    _row("allocator", "termEnded", "A term of leadership is over; this process stands by."),
    _row("allocator", "standby", "Another process leads; `msg` names it."),
    _row("allocator", "ledgerRebuilt", "A term begins: what every Service holds was read again."),
    _row("allocator", "groupRead", "A ServiceGroup was accepted or refused, or was edited."),
    _row("allocator", "groupGone", "A ServiceGroup was deleted; who has addresses of it keeps them."),
    _row("allocator", "addressAssigned", "A Service got its addresses."),
    _row("allocator", "addressRefused", "A Service cannot have what it asks for; `reason` says why."),
    _row("allocator", "addressReleased", "A Service gave addresses up."),
    _row("allocator", "addressConflict", "Two Services hold one address that they may not share."),
    _row(
        "allocator", "writeStripped", "The API server dropped a part of a write: an old CRD, or an admission webhook."
    ),
    _row(
        "allocator", "statusContested", "Somebody else writes the status of a Service again and again; at most hourly."
    ),
    _row("allocator", "publishRefused", "The API server refuses the status of a Service.", failure=True),
    _row(
        "allocator",
        "publishFailed",
        "The status of a Service could not be written; it is read and tried again.",
        failure=True,
    ),
    _row(
        "allocator",
        "statusMissing",
        "The API server does not know a status of ours: its CRDs are older than this allocator.",
    ),
    _row(
        "allocator",
        "addressLeft",
        "An address that nobody used yet was left to another host on the LAN that answers for it.",
    ),
    _row(
        "allocator",
        "sourceRaised",
        "A mistake of ours in a source of addresses; the call is tried again.",
        failure=True,
    ),
    _row("allocator", "sourceLied", "A source of addresses gave what cannot be used; it goes back.", failure=True),
    _row("allocator", "sourceAdopted", "A source of addresses said what it holds for this cluster."),
    _row(
        "allocator",
        "adoptFailed",
        "A source of addresses did not say what it holds; it is asked again.",
        failure=True,
    ),
    _row("allocator", "addressReturned", "An address was given back to the source it came from."),
    _row("allocator", "returnFailed", "An address could not be given back; it is tried again.", failure=True),
    _row("allocator", "readFailed", "A Service could not be read again.", failure=True),
    _row(
        "lbnodeagent", "configuration", "Another configuration is in force: default, configured, deselected or invalid."
    ),
    _row("lbnodeagent", "configFinding", "Something in an LBNodeAgent does not do what it says; `reason` says what."),
    _row("lbnodeagent", "fitness", "Whether this node may announce changed; `causes` says why not."),
    _row("lbnodeagent", "subnetsChanged", "The subnets of this node's interfaces changed."),
    _row("lbnodeagent", "hostSetting", "A kernel setting of this node is not as it should be."),
    _row("lbnodeagent", "adopted", "An address of ours was found in the kernel at the start."),
    _row("lbnodeagent", "announcingLocal", "This node answers for the address."),
    _row("lbnodeagent", "announcingNonLocal", "This node routes a remote address."),
    _row("lbnodeagent", "lostElection", "Another node answers for the address."),
    _row("lbnodeagent", "noLocalInterface", "No interface of this node is in the subnet of the address."),
    _row("lbnodeagent", "withdrawAddress", "This node does not announce the address any more."),
    _row("lbnodeagent", "takeover", "This node takes the address over; `cause` says from what."),
    _row("lbnodeagent", "offer", "This node offers the address to another one."),
    _row("lbnodeagent", "handoverStalled", "Nobody took an offered address within two seconds; the offer stands."),
    _row("lbnodeagent", "conflict", "Another host on the link answers for the address."),
    _row("lbnodeagent", "yield", "This node stopped defending the address."),
    _row("lbnodeagent", "oldName", "A Service names a node as holder that says it is not."),
    _row("lbnodeagent", "orphanRemoved", "An address of ours that nobody asks for was deleted from the kernel."),
    _row("lbnodeagent", "addressFight", "Somebody keeps deleting an address of ours."),
    _row(
        "lbnodeagent", "leftToLifetime", "The shutdown leaves these addresses in the kernel until their lifetime ends."
    ),
    _row("lbnodeagent", "linkCreated", "The dummy interface was made."),
    _row("lbnodeagent", "linkRefused", "The kernel does not make the dummy interface.", failure=True),
    _row("lbnodeagent", "kernelRefused", "The kernel refused an address.", failure=True),
    _row("lbnodeagent", "netlinkOverrun", "Events of the kernel were lost; everything is read again.", failure=True),
    _row("lbnodeagent", "netlink", "A request to the kernel and its answer.", level="debug"),
    _row("lbnodeagent", "holding", "Our lease could not be renewed; what this node announces stays.", failure=True),
    _row(
        "lbnodeagent", "fenced", "Our lease could not be renewed; what this node announces is withdrawn.", failure=True
    ),
    _row("lbnodeagent", "renewing", "Our lease is renewed again."),
    _row("lbnodeagent", "leaseOwned", "Our lease, which another agent renewed, is ours again."),
    _row("lbnodeagent", "leaseRecreated", "Somebody deleted our lease; it was made again."),
    _row("lbnodeagent", "leaseNotDeleted", "Leaving, our lease could not be deleted; it runs out.", failure=True),
    _row("lbnodeagent", "foreignInstance", "Another agent renews the lease of this node; this one does nothing."),
    _row("lbnodeagent", "peerAlive", "Another node's agent is alive."),
    _row("lbnodeagent", "peerDraining", "Another node gives its addresses away."),
    _row("lbnodeagent", "peerDead", "Another node's agent is dead, or left."),
    _row("lbnodeagent", "deafGap", "This agent did not run or was not seen for too long; it waits for its echo."),
    _row("lbnodeagent", "deafGapOver", "The gap is over; decisions go on as usual."),
    _row("lbnodeagent", "reportUnknown", "What another node announces could not be read.", failure=True),
    _row("lbnodeagent", "reportFailed", "The LBNodeStatus could not be written; it is tried again.", failure=True),
)
