"""An executor for one execution, in the page it takes: keep every event until it is acknowledged, and obey the server."""
import os, queue, threading, time
import grpc
from google.protobuf import json_format
from postern.v1 import execution_pb2 as pb, execution_pb2_grpc

spec = json_format.Parse(open(os.environ["POSTERN_SPEC_FILE"], encoding="utf-8").read(), pb.ExecutionSpec())
token = open(os.environ["POSTERN_TOKEN_FILE"], encoding="utf-8").read().strip()
hello = pb.Hello(protocol_version=1, execution_id=spec.execution_id, attempt=spec.attempt,
                 executor_id=f"python-{os.getpid()}", plan_digest=spec.plan_digest)
FINAL = [getattr(grpc.StatusCode, name) for name in  # asking again cannot change these
         ("FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "INVALID_ARGUMENT")]


def work():
    """What a real executor reports while it runs spec.plan."""
    yield pb.ExecutionEvent(execution_state=pb.ExecutionStateChanged(state=pb.EXECUTION_STATE_RUNNING))
    for n in range(int(os.environ.get("POSTERN_CONFORMANCE_EVENTS", "10"))):
        yield pb.ExecutionEvent(console_message=pb.ConsoleMessage(operator_id="print", level=1, text=f"line {n}"))


outbox = list(work())  # the events that are not acknowledged; the first one has the number acknowledged + 1
acknowledged = 0
for number, event in enumerate(outbox, start=1):
    event.sequence = number
manifest = pb.Manifest(execution_id=spec.execution_id, attempt=spec.attempt,
                       state=pb.EXECUTION_STATE_COMPLETED, last_sequence=len(outbox))


def attach(stub):
    """One stream until it ends. True: the execution has ended, or is not ours any more."""
    global token, acknowledged
    said, over, heard, completing = queue.Queue(), threading.Event(), time.monotonic(), False

    def say(**frame):
        said.put(pb.AttachRequest(**frame))

    def beat(lease):
        while not over.wait(lease / 3):
            say(heartbeat=pb.Heartbeat())
            if time.monotonic() - heard > lease / 2:  # half-open: nobody answers any more
                call.cancel()

    say(hello=hello)
    call = stub.Attach(iter(said.get, None), metadata=[("authorization", "Bearer " + token)])
    try:
        for reply in call:
            heard, kind = time.monotonic(), reply.WhichOneof("frame")
            frame = getattr(reply, kind)
            if kind == "welcome":
                threading.Thread(target=beat, args=[frame.lease_ms / 1000], daemon=True).start()
                stored, credit, next_number = frame.last_sequence, frame.credit, frame.last_sequence + 1
            elif kind == "ack":
                stored, credit = max(frame.sequence, acknowledged), frame.credit
            elif kind == "nack":
                next_number = frame.expected
            elif kind == "command":
                say(command_ack=pb.CommandAck(command_id=frame.command_id, refused="not supported"))
            elif kind == "token_grant":
                token = frame.token
            elif kind in ("complete_ack", "drain"):
                return kind == "complete_ack"
            del outbox[: stored - acknowledged]
            acknowledged = stored
            while next_number <= credit and (batch := outbox[next_number - stored - 1 : credit - stored][:256]):
                say(events=pb.EventBatch(events=batch))
                next_number += len(batch)
            if not outbox and not completing:
                completing = True
                say(complete=pb.Complete(manifest=manifest))
    except grpc.RpcError as error:
        return error.code() in FINAL
    finally:
        over.set()
        said.put(None)


with grpc.insecure_channel(os.environ["POSTERN_SERVER"]) as channel:
    while not attach(execution_pb2_grpc.ExecutionServiceStub(channel)):
        time.sleep(0.1)
