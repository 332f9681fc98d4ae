"""Settings to who may call the API beside those with keys, and how often: the issuer whose tokens are taken, rate limits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ringwatch.errors import BadInput
from ringwatch.secret_files import without_secret
from ringwatch.settings import Settings

if TYPE_CHECKING:
    from api.jwt_tokens import JwtTokens
    from api.rates import Rates


def open_rates(settings: Settings) -> Rates | None:
    """None where there is no limit. In Redis where the state is: then several processes may serve."""
    if not settings.rate_per_s:
        return None
    from api.rates import LocalRates, Rate

    rate = Rate(settings.rate_per_s, settings.rate_burst)
    if not settings.state_url.startswith("redis"):
        return LocalRates(rate)
    from api.redis_rates import RedisRates
    from ringwatch.access import redis_access

    return RedisRates(rate, redis_access(settings))


def takes_tokens(settings: Settings) -> bool:
    return any((settings.jwt_issuer, settings.jwt_audience, settings.jwt_jwks_url, settings.jwt_key_file))


def open_tokens(settings: Settings) -> JwtTokens | None:
    """None where no issuer is named. Keys at a URL are waited for as long as an answer may take; without them it begins all the same, and
    says so. Raises BadInput for settings that do not go together."""
    if not takes_tokens(settings):
        return None
    from api.jwt_keys import FETCH_TIMEOUT_S, KeysAtUrl, KeysInFile
    from api.jwt_tokens import JwtTokens, Wanted

    for name in ("jwt_issuer", "jwt_audience"):
        if not getattr(settings, name):
            hint = "tokens are taken of one issuer, for one audience: set both"
            raise BadInput(f"RINGWATCH_{name.upper()} is not set and another setting of tokens is", hint=hint)
    if bool(settings.jwt_jwks_url) == bool(settings.jwt_key_file):
        said = "both set" if settings.jwt_key_file else "not set"
        raise BadInput(
            f"RINGWATCH_JWT_JWKS_URL and RINGWATCH_JWT_KEY_FILE are {said}",
            hint="set one: where the issuer's public keys are",
        )
    wanted = Wanted(settings.jwt_issuer, settings.jwt_audience, settings.jwt_tenant_claim, settings.jwt_role_claim)
    if settings.jwt_key_file is not None:
        return JwtTokens(wanted, KeysInFile(settings.jwt_key_file))
    source = KeysAtUrl(without_secret("jwt_jwks_url", settings.jwt_jwks_url))
    asked = source.fetch()
    if asked is not None:
        with suppress(TimeoutError):
            asked.result(FETCH_TIMEOUT_S + 1)
    return JwtTokens(wanted, source)
