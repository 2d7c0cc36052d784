"""The routes of users."""

from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from costlab.service import validation
from costlab.service.invalidation import Invalidation
from costlab.service.openapi import operation
from costlab.service.problem import Conflict, NotFound
from services.users.models import NewUser, User, UserBatch, Users
from services.users.store import UserStore
from services.users.versioned_read import HEADER, VersionedRead


def blueprint(store: UserStore, reading: VersionedRead, invalidation: Invalidation) -> Blueprint:
    """Users by id, in batch, and create."""
    routes = Blueprint("users", __name__)

    @routes.get("/users/<int:user_id>")
    @operation("A user by id", answers={200: User})
    def get(user_id: int) -> ResponseReturnValue:
        validation.no_query()
        version, user = reading.get(user_id)
        if user is None:
            raise NotFound(f"There is no user {user_id}.", headers={HEADER: version})
        reply = current_app.json.response(user)
        reply.headers.add(HEADER, version)  # given to Flask beside the document, it would cost twice as much
        return reply

    @routes.get("/users")
    @operation("Users in batch; ids nobody has are left out", query=UserBatch, answers={200: Users})
    def batch() -> ResponseReturnValue:
        return {"users": store.batch(validation.query(UserBatch).ids)}

    @routes.post("/users")
    @operation("Create a user", body=NewUser, answers={201: User})
    def create() -> ResponseReturnValue:
        validation.no_query()
        new = validation.body(NewUser)
        user = store.add(new.name, new.email)
        if user is None:
            raise Conflict("There is a user with this email address already.")
        invalidation.publish("/users", f"/users/{user['id']}")
        return user, 201, {"Location": f"/users/{user['id']}"}

    return routes
