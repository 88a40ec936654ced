"""What a Redis server, or what answers in its place, refuses with, and one sentence for each: what to do about it."""

import re

from redis import exceptions

FINAL = {
    r"already authenticated": (  # so Redis answers a HELLO without a password
        "the server wants a password, and the URL has none: write it before the host, as :password@host, or for a user "
        "of the server's ACL as user:password@host"
    ),
    r"NOAUTH|Authentication required": (  # so Valkey answers any command that it does not know
        "the server wants a password: write it before the host, as :password@host or user:password@host; if the "
        "password is there, the server does not understand HELLO: add ?protocol=2 to the URL"
    ),
    r"WRONGPASS|invalid username-password pair|invalid password": (
        "the server does not accept the user and the password of the URL, where a password without a user stands after "
        "a colon, as :password@host; or it has disabled this user"
    ),
    r"without any password configured": "the server has no password, so leave it out of the URL",
    r"DB index is out of range|invalid DB index": (
        "DB index is out of range: the last number of the URL is a database, which this server does not have; usually "
        "it has 0 to 15, and a cluster only 0"
    ),
    r"protected mode": (
        "the server is in protected mode, in which it serves only its own machine: give it a password (requirepass), "
        "and put that into the URL"
    ),
    r"unknown command\W+(SENTINEL|sentinel)": (
        "the server at this address is no Sentinel: write redis:// for redis+sentinel://, or a Sentinel's port, which "
        "is usually 26379"
    ),
    r"Cluster mode is not enabled|cluster support disabled": (
        "the server at this address is no node of a cluster: write redis:// for redis+cluster://"
    ),
}
"""Refusals that stay until the operator changes something: a pattern of the server's words → what to do."""

PASSING = {
    r"\bLOADING\b|loading the dataset": (
        "the server is loading its data after a start: this ends by itself, and its log says how far it is"
    ),
    r"max number of clients": (
        "the server has as many connections as it may have: raise its setting maxclients, or end other clients"
    ),
    r"\bMISCONF\b": (
        "the server takes no writes because it cannot save its data to its disk: look at its log and at its free space"
    ),
    r"\bOOM\b|used memory": (
        "the server's memory is full: raise its setting maxmemory, or remove other data from the server"
    ),
    r"\bNOREPLICAS\b|Not enough good replicas": (
        "the server takes no writes while it has too few replicas (min-replicas-to-write)"
    ),
    r"\bMASTERDOWN\b": "the server is a replica that has lost its master",
    r"Timeout (reading|connecting)|timed out$": (
        "Redis gave no answer in time: look at the host and the port, and for a firewall between"
    ),
    r"\bBUSY\b": "the server runs a script of another program that does not end: SCRIPT KILL ends the script",
}
"""Refusals that may be over by themselves: a pattern of the server's words → why."""

READ_ONLY = "the server is read only: it is a replica. Give the master's address, or wait until it is the master"
REPLICA = "this server is a replica of {}: give the master's address, or wait until this server is the master"
NO_REDIS = (
    "what answers at this address does not speak the protocol of Redis: look at the host and the port, which is "
    "usually 6379"
)
MOVED = "the server is a node of a cluster, and the keys are at another node: write redis+cluster:// for redis://"
NO_RIGHT = "permit it to the user in the URL by ACL SETUSER; `lapse check` names every right that is missing"
SENTINEL = (
    "a Sentinel answers at this address, which keeps no keys: write redis+sentinel://host:26379/ and the name of the "
    "service, such as mymaster/0"
)
PORT_OF_TLS = "the connection ended before anything was answered: if this port is for TLS, write rediss:// for redis://"


def final(error: Exception) -> str | None:
    """Return the sentence about a refusal that stays; None for another error."""
    if isinstance(error, exceptions.MovedError):
        return MOVED
    return _found(FINAL, error)


def passing(error: Exception) -> str | None:
    """Return the sentence about a refusal that may be over by itself; None for another error."""
    if isinstance(error, exceptions.InvalidResponse):
        return NO_REDIS
    return _found(PASSING, error)


def ended_at_once(error: BaseException) -> bool:
    """Return whether the other side ended the connection without an answer."""
    return bool(re.search(r"(?i)connection (reset|closed|aborted)|broken pipe", str(error)))


def _found(sentences: dict[str, str], error: Exception) -> str | None:
    text = str(error)
    return next((sentence for pattern, sentence in sentences.items() if re.search(pattern, text)), None)
