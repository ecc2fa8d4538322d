# SPDX-License-Identifier: Apache-2.0
"""Who is asking: client certificates, bearer tokens, nobody. No rights: whoever is authenticated may do everything.

Tokens are opaque and live in this table only; each is bound to a ServiceAccount, and maybe to a Pod and its Node, which
the user info then names as the real server does. A token that is unknown or too old is 401, no credential is
`system:anonymous`, who may read the version and the health and nothing else.
"""

from collections.abc import Callable, Mapping

import msgspec

from purelb.sandbox.apiserver.answers import Refusal

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class User(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}


ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
ADMIN = User(name="kubernetes-admin", groups=("system:masters", "system:authenticated"))


class Bound(msgspec.Struct, frozen=True):
    user: User
    expires_at: float | None
    accounts_uid: str


class Tokens:
    """The tokens that were given out. `rng` makes them: `SystemRandom().random` for a server, a seed for a simulation."""

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._held: dict[str, Bound] = {}

    def issue(
        self,
        *,
        namespace: str,
        account: str,
        account_uid: str = "",
        pod: str = "",
        pod_uid: str = "",
        node: str = "",
        expires_at: float | None = None,
    ) -> str:
        """A new token of a ServiceAccount. The account itself need not exist: a supervisor may start before it."""
        extra: dict[str, tuple[str, ...]] = {}
        if pod:
            extra["authentication.kubernetes.io/pod-name"] = (pod,)
            extra["authentication.kubernetes.io/pod-uid"] = (pod_uid,)
        if node:
            extra["authentication.kubernetes.io/node-name"] = (node,)
        user = User(
            name=f"system:serviceaccount:{namespace}:{account}",
            groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
            uid=account_uid,
            extra=extra,
        )
        token = "purelb." + "".join(_ALPHABET[int(self._rng() * len(_ALPHABET))] for _ in range(48))
        self._held[token] = Bound(user, expires_at, account_uid)
        return token

    def revoke(self, token: str) -> None:
        self._held.pop(token, None)

    def forget_account(self, uid: str) -> None:
        """Tokens die with the ServiceAccount they were asked for from."""
        self._held = {token: bound for token, bound in self._held.items() if not uid or bound.accounts_uid != uid}

    def user(self, token: str, now: float) -> User | None:
        bound = self._held.get(token)
        if bound is None or (bound.expires_at is not None and bound.expires_at <= now):
            self._held.pop(token, None)
            return None
        return bound.user


def authenticate(authorization: str, certified: User | None, tokens: Tokens, now: float) -> User:
    """The certificate's user, else the token's; raises 401 for a token that is not good."""
    if certified is not None:
        return certified
    if not authorization:
        return ANONYMOUS
    scheme, _, token = authorization.partition(" ")
    user = tokens.user(token.strip(), now) if scheme.lower() == "bearer" else None
    if user is None:
        raise Refusal(401, "Unauthorized", "Unauthorized")
    return user
