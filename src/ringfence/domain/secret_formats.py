"""The formats of secrets that are always looked for, as data: RE2 patterns, each of bounded length.

A pattern says how a secret *begins*, up to the point where it is certain; the rest of the token follows by its
`tail`, the bytes that may continue it. So no pattern needs an unbounded repetition, and a stream needs to hold
back only a little (redaction.py). A format with `gate` is precise enough to refuse a patch for; the others
are wrong now and then, which costs a log nothing and would cost a patch too much.
"""

import string
from dataclasses import dataclass

_ALNUM = (string.ascii_letters + string.digits).encode()
TOKEN = _ALNUM + b"_-"
BASE64 = TOKEN + b"+/="
DOTTED = TOKEN + b"."
#: Everything but white space, quotes and what ends a value in JSON, shells and headers.
VALUE = bytes(sorted(set(range(0x21, 0x100)) - set(b"\"'`,;<>[]{}()&|\\\x7f")))
#: To the end of the line or the string.
LINE = bytes(sorted(set(range(0x20, 0x100)) - set(b"\"'\\\x7f")))
NONE = b""

#: The start of a word, also right after an escaped line break or a percent escape.
_START = rb"(?:\b|\\[nrtbf]|%[0-9A-Fa-f]{2})"
_KEYWORD = (
    rb"(?i:passwd|password|passphrase|pwd|secret|token|credentials?|api[_-]?key|apikey|access[_-]?key"
    rb"|auth[_-]?key|private[_-]?key|secret[_-]?key|client[_-]?secret|encryption[_-]?key|signing[_-]?key)"
)
_ASSIGNED = rb"\\?[\"']?\s{0,4}(?:=>|:=|[:=])\s{0,4}\\?[\"']?"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of secret. `pattern` has exactly one group: what is taken out, before its tail."""

    name: str
    pattern: bytes
    tail: bytes = TOKEN
    gate: bool = True


#: More specific formats stand before more general ones: the first that matches gives the name.
FORMATS = (
    Format("aws-access-key-id", _START + rb"((?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16})\b", NONE),
    Format(
        "aws-secret-key",
        rb"(?i:aws|amazon)(?i:[a-z_.-]{0,20}key)" + _ASSIGNED + rb"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|\z)",
        BASE64,
    ),
    Format("github-token", rb"(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22})"),
    Format("ringfence-token", rb"(rf[hm]_[0-9a-f]{64})"),
    Format("gitlab-token", rb"(gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[A-Za-z0-9_-]{20})", DOTTED),
    Format("slack-token", rb"(xox[abeoprs]-[A-Za-z0-9-]{10}|xapp-[0-9]-[A-Z0-9]{8})"),
    Format("slack-webhook", rb"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9]{8})", BASE64),
    Format("anthropic-key", rb"(sk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{20})"),
    Format("openai-key", _START + rb"(sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20}|sk-[A-Za-z0-9]{32})"),
    Format("openrouter-key", _START + rb"(sk-or-v1-[0-9a-f]{32})"),
    Format("google-api-key", rb"(AIza[A-Za-z0-9_-]{35})"),
    Format("google-oauth-token", rb"(ya29\.[A-Za-z0-9_-]{20}|GOCSPX-[A-Za-z0-9_-]{28}|1//0[A-Za-z0-9_-]{35})"),
    Format("stripe-key", rb"((?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{16}|whsec_[A-Za-z0-9+/]{24})", BASE64),
    Format("npm-token", rb"(npm_[A-Za-z0-9]{36})"),
    Format("pypi-token", rb"(pypi-AgE[A-Za-z0-9_-]{20})"),
    Format("rubygems-token", rb"(rubygems_[0-9a-f]{48})"),
    Format("crates-token", _START + rb"(cio[A-Za-z0-9]{32})\b", NONE),
    Format("nuget-key", _START + rb"(oy2[a-z0-9]{43})\b", NONE),
    Format("docker-token", rb"(dckr_(?:pat|oat)_[A-Za-z0-9_-]{27})"),
    Format("jwt", rb"(eyJ[A-Za-z0-9_-]{8,800}\.eyJ[A-Za-z0-9_-]{4})", DOTTED),
    Format("jwt", rb"(eyJ(?:hbGci|0eXAi|lbmMi|raWQi|jdHki)[A-Za-z0-9_-]{4,800}\.[A-Za-z0-9_-]{16})", DOTTED),
    Format("sendgrid-key", rb"(SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50})"),
    Format("twilio-key", _START + rb"(SK[0-9a-f]{32})\b", NONE),
    Format("mailgun-key", _START + rb"(key-[0-9a-f]{32})\b", NONE),
    Format("mailchimp-key", _START + rb"([0-9a-f]{32}-us[0-9]{1,2})\b", NONE),
    Format("digitalocean-token", rb"(do[opr]_v1_[0-9a-f]{64})"),
    Format("heroku-key", rb"(HRKU-[A-Za-z0-9_-]{30})"),
    Format("vault-token", _START + rb"(hv[sbr]\.[A-Za-z0-9_-]{24})", DOTTED),
    Format("terraform-token", rb"([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40})", BASE64),
    Format("azure-storage-key", rb"(?i:accountkey|sharedaccesskey)=([A-Za-z0-9+/]{40})", BASE64),
    Format("azure-client-secret", _START + rb"([A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31})", DOTTED + b"~"),
    Format("azure-signature", rb"[?&]sig=([A-Za-z0-9%+/]{40})", BASE64 + b"%", gate=False),
    Format("huggingface-token", rb"((?:hf|api_org)_[A-Za-z]{34})"),
    Format("groq-key", rb"(gsk_[A-Za-z0-9]{52})"),
    Format("replicate-token", _START + rb"(r8_[A-Za-z0-9]{37})"),
    Format("xai-key", rb"(xai-[A-Za-z0-9]{70})"),
    Format("perplexity-key", rb"(pplx-[A-Za-z0-9]{40})"),
    Format("databricks-token", rb"(dapi[0-9a-f]{32})"),
    Format("shopify-token", rb"(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})"),
    Format("square-token", _START + rb"(EAAA[A-Za-z0-9_-]{56,60}|sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{22})"),
    Format("telegram-token", rb"([0-9]{8,10}:AA[A-Za-z0-9_-]{33})"),
    Format("discord-token", _START + rb"([MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27})"),
    Format("discord-webhook", rb"discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/([A-Za-z0-9_-]{40})"),
    Format("linear-key", rb"(lin_(?:api|oauth)_[A-Za-z0-9]{40})"),
    Format("atlassian-token", rb"(AT[AC]TT3[A-Za-z0-9_=-]{40}|ATBB[A-Za-z0-9]{32})", BASE64),
    Format("notion-token", rb"(ntn_[A-Za-z0-9]{40}|secret_[A-Za-z0-9]{43})"),
    Format("postman-key", rb"(PMAK-[0-9a-f]{24}-[0-9a-f]{34})"),
    Format("grafana-token", rb"(glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/=]{32})", BASE64),
    Format("newrelic-key", rb"(NRAK-[A-Z0-9]{27})"),
    Format("sentry-token", rb"(sntry[su]_[A-Za-z0-9+/=_]{40})", BASE64),
    Format("doppler-token", rb"(dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40})", DOTTED),
    Format("pulumi-token", rb"(pul-[0-9a-f]{40})"),
    Format("planetscale-token", rb"(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32})", DOTTED + b"="),
    Format("supabase-token", rb"(sbp_[0-9a-f]{40})"),
    Format("tailscale-key", rb"(tskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{8})"),
    Format("age-key", rb"(AGE-SECRET-KEY-1[A-Z0-9]{58})"),
    Format("url-credentials", rb"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>\[]{0,200}:([^\s/@\"'<>]{3,500})@", NONE),
    Format("url-credentials", rb"://([A-Za-z0-9_.~%-]{16,255})(?::[a-z-]{0,20})?@", NONE, gate=False),
    Format(
        "authorization",
        rb"(?i:authorization)" + _ASSIGNED + rb"(?i:bearer|basic|token|digest|negotiate|apikey)\s{1,4}"
        rb"([^\s\"',;\\]{4})",
        VALUE,
        gate=False,
    ),
    Format("authorization", rb"\b(?i:bearer)\s{1,4}([A-Za-z0-9_.=+/~-]{16})", BASE64 + b".~", gate=False),
    Format("cookie", rb"\b(?i:set-cookie|cookie)\\?[\"']?\s{0,4}:\s{0,4}\\?[\"']?([^\s\"'\\]{4})", LINE, gate=False),
    Format("netrc-password", rb"\blogin\s{1,4}[^\s]{1,100}\s{1,4}password\s{1,4}([^\s]{3})", VALUE, gate=False),
    Format("keyword", rb"--" + _KEYWORD + rb"[ =]([^\s\"'`,;\\-][^\s\"'`,;\\]{3})", VALUE, gate=False),
    Format("keyword", _KEYWORD + _ASSIGNED + rb"([^\s\"'`,;\\]{6})", VALUE, gate=False),
)

#: Longer than what any pattern above can match (the two JWT rules and URL credentials are the longest).
LONGEST_FORMAT = 1024

PEM_BEGIN = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
PEM_END = b"-----END"
#: A private key without its end is taken for this long; a 16,384-bit RSA key is 13 KB.
PEM_LONGEST = 16 * 1024

#: Passwords in URLs that documentation and test set-ups are full of: redacted all the same, no reason to refuse.
PLACEHOLDERS = frozenset(
    b"password passwd pass pwd secret changeme example user username test testing guest admin root postgres "
    b"mysql redis token xxx xxxx xxxxx *** **** ***** ...".split()
)
