"""``/plugin/appkeys/auth/{token}``: the page where a person allows a program its key, or does not.

It works without scripts: who is logged in presses a button, who is not gives name and password with it, for which no
session is begun.  The form holds the token of the session that it was made for, or the password, so no other page can
send it.
"""

import hmac
import html
from typing import Final

from polyhost.core.errors import Malformed, NotAllowed, NotFound, NotNow
from polyhost.core.user import Caller
from polyhost.dialects.octoprint.errors import ERRORS
from polyhost.services.app_keys import AppKeyRequest
from polyhost.web.answers import PAGE_HEAD, Encoded, page
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes()


def question_of(request: AppKeyRequest, caller: Caller, csrf: str, wrong: str = "") -> str:
    """The page, for `caller` if their session with `csrf` may decide, else with fields for name and password.

    `wrong` is what kept the last try from counting.
    """
    app, address, user = html.escape(request.app), html.escape(request.address), html.escape(request.user)
    scope = f"the printer <b>{html.escape(request.printer)}</b>" if request.printer else "every printer of this host"
    if csrf and not wrong:
        who = f"""<p>It would act as you, <b>{html.escape(caller.name)}</b>.</p>
<input type="hidden" name="csrf" value="{csrf}">"""
    else:
        who = f"""<p>It would act as you; say who you are.</p>
<label>User name <input name="user" autocomplete="username" value="{user}" required></label>
<label>Password <input name="pass" type="password" autocomplete="current-password" required></label>"""
    return f"""{PAGE_HEAD}<p>A program that calls itself <b>{app}</b> asks for a key to {scope}.
It asks from <code>{address}</code>.</p>
{f"<p><b>{html.escape(wrong)}</b></p>" if wrong else ""}
<form method="post">
{who}
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form></body></html>
"""


_DECIDED: Final = {
    "allow": "<p><b>{}</b> has its key in a moment; go back to it.</p></body></html>\n",
    "deny": "<p><b>{}</b> gets no key.</p></body></html>\n",
}


@routes.get("/plugin/appkeys/auth/{token}", open_door=True)
async def ask(call: Call) -> Encoded:
    request = call.host.app_keys.asked(call.params["token"], call.peer.address)
    return page(question_of(request, call.caller, call.csrf))


@routes.post("/plugin/appkeys/auth/{token}", open_door=True, any_page=True)
async def answer(call: Call) -> Encoded:
    request = call.host.app_keys.asked(call.params["token"], call.peer.address)
    form = await call.form()
    decision = form.get("decision", "")
    if decision not in _DECIDED:
        raise Malformed("the decision is allow or deny")
    try:
        by = await _person(call, form)
        call.host.app_keys.decide(request.id, decision == "allow", by=by)
    except (NotAllowed, NotFound, NotNow) as error:  # a person reads it, and tries again
        said = "this request is somebody else's to decide" if isinstance(error, NotFound) else str(error)
        return page(question_of(request, call.caller, call.csrf, said), status=ERRORS.status(error))
    return page(PAGE_HEAD + _DECIDED[decision].format(html.escape(request.app)))


async def _person(call: Call, form: dict[str, str]) -> Caller:
    if "user" in form or "pass" in form:
        return await call.host.accounts.prove(form.get("user", ""), form.get("pass", ""), call.peer.address)
    if call.csrf and not hmac.compare_digest(form.get("csrf", "").encode(), call.csrf.encode()):
        raise Malformed("CSRF validation failed")
    return call.caller
