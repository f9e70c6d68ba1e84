"""Routes as FastAPI's tutorial writes them: nothing in them knows the house that they stand in."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Depends,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

notes: list[str] = []
"""What dependencies and background tasks have done."""


class UnicornException(Exception):
    """Has a handler of its own."""

    def __init__(self, name: str) -> None:
        self.name = name


class Item(BaseModel):
    """A body."""

    name: str
    price: float
    tax: float | None = None


class PublicItem(BaseModel):
    """What may be seen of it."""

    name: str


async def session() -> AsyncIterator[str]:
    """A dependency that has an end."""
    notes.append("open")
    try:
        yield "a session"
    except HTTPException:
        notes.append("failed")
        raise
    finally:
        notes.append("closed")


def common(q: str | None = None, limit: Annotated[int, Query(le=100)] = 10) -> dict[str, object]:
    """A plain function with parameters of its own."""
    return {"q": q, "limit": limit}


Session = Annotated[str, Depends(session)]


def tutorial(routes: APIRouter) -> APIRouter:  # noqa: C901 (many small endpoints)
    """The same routes on any router."""

    @routes.get("/items/{item_id}")
    def read_item(item_id: str, session: Session, x_token: Annotated[str | None, Header()] = None):  # type: ignore[no-untyped-def]
        if item_id == "foo":
            raise HTTPException(status_code=404, detail="Item not found", headers={"X-Error": "There goes my error"})
        if item_id == "teapot":
            raise HTTPException(status_code=418, detail="Nope! I don't like 3.")
        return {"item_id": item_id, "session": session, "token": x_token}

    @routes.get("/numbers/{number}")
    async def read_number(number: int, common: Annotated[dict[str, object], Depends(common)]) -> dict[str, object]:
        return {"number": number, **common}

    @routes.post("/items", status_code=201, response_model=PublicItem)
    async def create_item(item: Item, response: Response) -> Item:
        response.headers["X-Cat-Dog"] = "alone in the world"
        response.set_cookie(key="fakesession", value="fake-cookie-session-value")
        return item

    @routes.put("/items/{item_id}")
    async def update_item(item_id: int, item: Item, importance: Annotated[int, Body(gt=0)]) -> dict[str, object]:
        return {"item_id": item_id, "name": item.name, "importance": importance}

    @routes.post("/notify/{email}")
    async def send_notification(email: str, background_tasks: BackgroundTasks) -> dict[str, str]:
        background_tasks.add_task(notes.append, f"mail to {email}")
        return {"message": "Notification sent in the background"}

    @routes.post("/uploadfile")
    async def create_upload_file(file: UploadFile) -> dict[str, object]:
        return {"filename": file.filename, "size": len(await file.read())}

    @routes.post("/files")
    def create_file(file: Annotated[bytes, File()], token: Annotated[str, Form()]) -> dict[str, object]:
        return {"size": len(file), "token": token}

    @routes.post("/login")
    async def login(username: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, object]:
        return {"username": username, "known": bool(password)}

    @routes.get("/stream", response_class=StreamingResponse)
    async def stream() -> AsyncIterator[bytes]:
        yield b"some "
        yield b"bytes"

    @routes.get("/numbered")
    def numbered() -> StreamingResponse:
        def numbers() -> Iterator[bytes]:
            yield from (b"%d\n" % number for number in range(3))

        return StreamingResponse(numbers(), media_type="text/plain")

    @routes.get("/text", response_class=PlainTextResponse)
    async def text() -> str:
        return "x" * 5000

    @routes.get("/unicorns/{name}")
    async def read_unicorn(name: str) -> dict[str, str]:
        raise UnicornException(name)

    @routes.get("/divided")
    async def divided() -> float:
        return 1 / 0

    @routes.get("/paths/{file_path:path}")
    async def read_file(file_path: str) -> dict[str, str]:
        return {"file_path": file_path}

    return routes


def with_raw_bodies(routes: APIRouter) -> APIRouter:
    """Endpoints that read the body themselves."""

    @routes.post("/body")
    async def body(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @routes.post("/chunks")
    async def chunks(request: Request) -> dict[str, int]:
        return {"size": sum([len(chunk) async for chunk in request.stream()])}

    return routes
