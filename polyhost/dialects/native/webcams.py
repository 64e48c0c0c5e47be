"""``/native/v1/printers/<slug>/webcams``: the cameras that look at a printer, and a picture of now."""

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import Permission
from polyhost.core.webcam import Webcam, without_password
from polyhost.web.answers import Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


def shown_to(call: Call, webcam: Webcam) -> Webcam:
    """Without the passwords in its URLs, for who may not set them."""
    if call.caller.may(Permission.SETTINGS, call.slug):
        return webcam
    stream, snapshot = without_password(webcam.stream_url), without_password(webcam.snapshot_url)
    return msgspec.structs.replace(webcam, stream_url=stream, snapshot_url=snapshot)


@routes.get("/native/v1/printers/{slug}/webcams", needs=Permission.LOOK)
async def webcams(call: Call) -> Encoded:
    return encoded([shown_to(call, webcam) for webcam in call.host.webcams.all(call.printer)])


@routes.put("/native/v1/printers/{slug}/webcams/{name}", needs=Permission.SETTINGS)
async def put(call: Call) -> Webcam:
    """All of it; what is not given has its default."""
    wanted = await call.body(Webcam)
    name = call.params["name"]
    if wanted.name not in {name, Webcam().name}:
        raise Malformed(f"the path says {name!r} and the body {wanted.name!r}; say one name")
    return await call.host.webcams.put(call.printer, msgspec.structs.replace(wanted, name=name), by=call.caller)


@routes.delete("/native/v1/printers/{slug}/webcams/{name}", needs=Permission.SETTINGS)
async def remove(call: Call) -> Encoded:
    await call.host.webcams.remove(call.printer, call.params["name"], by=call.caller)
    return no_content()


@routes.get("/native/v1/printers/{slug}/webcams/{name}/snapshot", needs=Permission.LOOK)
async def snapshot(call: Call) -> Encoded:
    picture = await call.host.webcams.snapshot(call.printer, call.params["name"], by=call.caller)
    length = b"%d" % len(picture.data)
    return Encoded(200, [(b"content-type", picture.media_type.encode()), (b"content-length", length)], picture.data)
