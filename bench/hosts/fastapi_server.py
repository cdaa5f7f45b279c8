"""An echo and a sum on FastAPI, by the models that its documentation has, on uvicorn with uvloop and httptools:  fastapi_server.py PORT

Coroutines, since FastAPI runs plain functions on threads, at a greater cost. No line in the log per call."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Payload(BaseModel):
    text: str


class Numbers(BaseModel):
    a: int
    b: int


app = FastAPI()


@app.post("/echo")
async def echo(payload: Payload) -> Payload:
    return payload


@app.post("/add")
async def add(numbers: Numbers) -> int:
    return numbers.a + numbers.b


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
