"""Puts the settings' secret sources together; the part of the wiring that knows where each value is kept."""

import ssl

from ringfence.adapters.clock import SystemClock
from ringfence.adapters.json_http import JsonClient
from ringfence.adapters.secret_sources.command import CommandSecrets, SecretCommand
from ringfence.adapters.secret_sources.environment import EnvironmentSecrets
from ringfence.adapters.secret_sources.file import FileSecrets
from ringfence.adapters.secret_sources.vault import VaultItem, VaultLogin, VaultSecrets
from ringfence.broker.sources import SecretSources
from ringfence.domain.errors import ControlMissing
from ringfence.ports.broker import Secret
from ringfence.settings import Settings, VaultSettings


def sources_of(settings: Settings) -> tuple[SecretSources, VaultSecrets | None]:
    """Every secret of the settings as one source, and the vault among them, whose login is to be ended."""
    near = near_sources(settings)
    vault = _vault(settings, settings.vault, near) if settings.vault is not None else None
    return SecretSources([near, *([vault] if vault is not None else [])]), vault


def near_sources(settings: Settings) -> SecretSources:
    """The secrets that are kept on this host."""
    places = settings.secrets.items()
    files = {name: place.file for name, place in places if place.file is not None}
    named = {name: (place.env, settings.variable(place.env)) for name, place in places if place.env is not None}
    commands = {
        name: SecretCommand(place.command, place.timeout, _inherited(settings, place.inherit))
        for name, place in places
        if place.command is not None
    }
    return SecretSources([FileSecrets(files), EnvironmentSecrets(named), CommandSecrets(commands)])


def at_hand(settings: Settings, sources: SecretSources) -> tuple[Secret, ...]:
    """The values that can be read without asking anybody: redaction knows them from the start."""
    near = [name for name, place in settings.secrets.items() if place.file is not None or place.env is not None]
    return tuple(sources.open(name).secret for name in near)


def _inherited(settings: Settings, names: tuple[str, ...]) -> dict[str, str]:
    found = {name: settings.variable(name) for name in names}
    return {name: value.reveal() for name, value in found.items() if value is not None}


def _vault(settings: Settings, server: VaultSettings, near: SecretSources) -> VaultSecrets:
    """The client of the one vault; it logs in with a secret that is kept elsewhere."""
    by = server.token or server.secret_id or ""
    login = VaultLogin(lambda: near.open(by).secret, server.role_id, server.mount, server.namespace)
    items = {
        name: VaultItem(place.vault.path, place.vault.field, place.vault.mount)
        for name, place in settings.secrets.items()
        if place.vault is not None
    }
    mend = "see that it runs and is unsealed, and that the settings name its address"
    client = JsonClient(server.url, whose="the vault", mend=mend, timeout=15.0, trust=_trust(server))
    return VaultSecrets(client, login, items, SystemClock())


def _trust(server: VaultSettings) -> ssl.SSLContext | None:
    if server.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(server.ca))
    except (OSError, ssl.SSLError) as error:
        raise ControlMissing(
            f"the vault's certificates cannot be read: {type(error).__name__}",
            where=str(server.ca),
            mend="name a PEM file as vault.ca",
        ) from None
