"""The whole application under FastAPI's own TestClient: its lifespan with real servers, without a socket."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.main import create_app
from infra.settings import Settings

PASSWORD = "correct horse battery"


def test_an_account_registers_signs_in_and_changes_its_profile(settings: Settings) -> None:
    app = create_app(settings)
    assert isinstance(app, FastAPI)
    with TestClient(app, base_url="http://weir.test") as client:
        assert client.get("/health/ready").status_code == 200
        registered = client.post(
            "/v1/accounts", json={"email": "ada@example.org", "username": "ada", "password": PASSWORD}
        )
        assert (registered.status_code, registered.json()["version"]) == (201, 1)
        form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
        token = client.post("/v1/auth/token", data=form).json()["access_token"]
        changed = client.patch("/v1/me", json={"bio": "first"}, headers={"Authorization": f"Bearer {token}"})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        refused = client.patch("/v1/me", json={"bio": "second"})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        assert client.get("/nothing").json()["code"] == "not-found"
        counted = 'http_requests_total{method="PATCH",route="/v1/me",status="401"} 1.0'
        assert counted in client.get("/metrics").text
