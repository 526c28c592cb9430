"""A client and an executor of another toolchain: what any language can expect of the contract.

Stubs come from grpc_tools.protoc; health checking and reflection are the stock Python packages.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

import grpc
from google.protobuf import struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from postern.v1 import (
    cache_pb2,
    cache_pb2_grpc,
    compile_pb2,
    compile_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    execution_pb2,
    execution_pb2_grpc,
    plan_pb2,
    port_registry_pb2,
    port_registry_pb2_grpc,
    workflow_pb2,
    workflow_pb2_grpc,
)

SERVICES = [
    "postern.v1.AccessService",
    "postern.v1.CacheService",
    "postern.v1.CompileService",
    "postern.v1.DatasetService",
    "postern.v1.ExecutionService",
    "postern.v1.PortRegistry",
    "postern.v1.WorkflowService",
]


class Stack:
    """A running `postern dev` in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="postern-interop-")
        self.log = open(os.path.join(self.folder, "dev.log"), "w+b")
        self.process = subprocess.Popen(
            ["node", "bin/postern.js", "dev", "--dir", os.path.join(self.folder, "dev"), "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.client = self.wait_for_client()

    def wait_for_client(self):
        path = os.path.join(self.folder, "dev", "client.json")
        for _ in range(600):
            if self.process.poll() is not None:
                break
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    return json.load(file)
            time.sleep(0.1)
        self.log.seek(0)
        output = self.log.read().decode(errors="replace")
        self.stop()
        raise RuntimeError("postern dev did not start:\n" + output)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def reason_of(error):
    """The stable reason in the error's google.rpc.Status, decoded with stock protobuf."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None


def operator(id, type, properties):
    struct = struct_pb2.Struct()
    struct.update(properties)
    return plan_pb2.LogicalOperator(id=id, type=type, properties=struct)


class Interop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.addClassCleanup(cls.stack.stop)
        client = cls.stack.client
        with open(client["tokenFile"], encoding="utf-8") as file:
            cls.metadata = (("authorization", "Bearer " + file.read().strip()),)
        cls.project = client["project"]
        cls.unit = client["computingUnit"]
        cls.channel = grpc.insecure_channel(client["server"])
        cls.addClassCleanup(cls.channel.close)
        cls.executions = execution_pb2_grpc.ExecutionServiceStub(cls.channel)
        cls.ports = port_registry_pb2_grpc.PortRegistryStub(cls.channel)

    def put_workflow(self):
        """Uploads a small dataset and stores a workflow over it."""
        datasets = dataset_pb2_grpc.DatasetServiceStub(self.channel)

        content = b"name,weight\napple,150\ncherry,8\nmelon,1900\n"

        def pieces():
            yield dataset_pb2.UploadDatasetRequest(
                header=dataset_pb2.UploadHeader(
                    project_id=self.project, name="fruit", file_name="fruit.csv", byte_count=len(content)
                )
            )
            yield dataset_pb2.UploadDatasetRequest(chunk=content)

        version = datasets.UploadDataset(pieces(), metadata=self.metadata).version
        self.assertEqual(version.row_count, 3)
        plan = plan_pb2.LogicalPlan(
            operators=[
                operator("fruit", "scan", {"dataset": "fruit"}),
                operator("heavy", "filter", {"predicate": "weight > 100"}),
                operator("order", "sort", {"by": [{"column": "weight", "descending": True}]}),
            ],
            links=[plan_pb2.LogicalLink(**{"from": "fruit", "to": "heavy"}), plan_pb2.LogicalLink(**{"from": "heavy", "to": "order"})],
        )
        workflow_pb2_grpc.WorkflowServiceStub(self.channel).PutWorkflow(
            workflow_pb2.PutWorkflowRequest(project_id=self.project, workflow_id="interop", plan=plan),
            metadata=self.metadata,
        )

    def prepare(self, queue, mode=execution_pb2.CACHE_MODE_USE):
        self.put_workflow()
        return self.executions.PrepareExecution(
            execution_pb2.PrepareExecutionRequest(
                request_id=str(uuid.uuid4()),
                project_id=self.project,
                workflow_id="interop",
                computing_unit_id=self.unit,
                queue=queue,
                cache=execution_pb2.CacheUse(mode=mode),
            ),
            metadata=self.metadata,
        )

    def test_stock_health_checking_reports_every_service_as_serving(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        for service in ["", *SERVICES]:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING, service)

    def test_stock_reflection_lists_the_services_and_describes_them_whole(self):
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.assertLessEqual(set(SERVICES), set(database.get_services()))
        pool = DescriptorPool(database)
        attach = pool.FindServiceByName("postern.v1.ExecutionService").FindMethodByName("Attach")
        self.assertEqual(attach.input_type.full_name, "postern.v1.AttachRequest")
        self.assertIn("hello", attach.input_type.fields_by_name)

    def test_capabilities_need_no_token(self):
        reply = self.executions.GetCapabilities(execution_pb2.GetCapabilitiesRequest())
        self.assertEqual(list(reply.protocol_versions), [1])

    def test_a_call_without_a_token_is_unauthenticated_with_a_stable_reason(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.executions.ListExecutions(execution_pb2.ListExecutionsRequest(project_id=self.project))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(reason_of(caught.exception), "TOKEN_INVALID")

    def test_what_does_not_exist_is_not_found_with_a_stable_reason(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.executions.GetExecution(
                execution_pb2.GetExecutionRequest(execution_id=str(uuid.uuid4())), metadata=self.metadata
            )
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertEqual(reason_of(caught.exception), "NOT_FOUND")

    def test_findings_of_the_compiler_are_data(self):
        stub = compile_pb2_grpc.CompileServiceStub(self.channel)
        plan = plan_pb2.LogicalPlan(operators=[operator("x", "no-such-operator", {})])
        reply = stub.Compile(compile_pb2.CompileRequest(project_id=self.project, plan=plan), metadata=self.metadata)
        self.assertFalse(reply.HasField("plan"))
        self.assertEqual(reply.diagnostics[0].operator_id, "x")

    def test_a_queued_execution_runs_is_watched_to_its_end_and_its_rows_are_read(self):
        execution = self.prepare(queue=True).execution
        items = list(
            self.executions.WatchExecution(
                execution_pb2.WatchExecutionRequest(execution_id=execution.id, after=0), metadata=self.metadata, timeout=60
            )
        )
        events = [item.event for item in items if item.HasField("event")]
        self.assertEqual([event.number for event in events], list(range(1, len(events) + 1)))
        self.assertEqual(sum(item.HasField("caught_up") for item in items), 1)
        self.assertEqual(events[-1].execution_state.state, execution_pb2.EXECUTION_STATE_COMPLETED)
        port = port_registry_pb2.PortSelector(logical_port=port_registry_pb2.LogicalPort(operator_id="order"))
        page = self.ports.ReadPort(
            port_registry_pb2.ReadPortRequest(execution_id=execution.id, port=port), metadata=self.metadata
        )
        rows = [[cell.string_value or cell.int_value for cell in row.cells] for row in page.rows]
        self.assertEqual(rows, [["melon", 1900], ["apple", 150]])

    def test_an_executor_of_another_language_attaches_reports_and_ends_an_execution(self):
        prepared = self.prepare(queue=False, mode=execution_pb2.CACHE_MODE_REFRESH)
        spec = prepared.spec
        requests = Requests()
        calls = self.executions.Attach(
            iter(requests.take, None), metadata=(("authorization", "Bearer " + prepared.token),), timeout=30
        )
        requests.say(
            execution_pb2.AttachRequest(
                hello=execution_pb2.Hello(
                    protocol_version=1,
                    execution_id=spec.execution_id,
                    attempt=spec.attempt,
                    executor_id="python-1",
                    plan_digest=spec.plan_digest,
                )
            )
        )
        welcome = answer(calls, "welcome")
        self.assertEqual(welcome.last_sequence, 0)
        looked_up = cache_pb2_grpc.CacheServiceStub(self.channel).LookupPlan(
            cache_pb2.LookupPlanRequest(execution_id=spec.execution_id),
            metadata=(("authorization", "Bearer " + prepared.token),),
        )
        self.assertEqual([port.outcome for port in looked_up.ports], [cache_pb2.PortLookup.OUTCOME_RESERVED])
        running = execution_pb2.ExecutionEvent(
            sequence=1,
            execution_state=execution_pb2.ExecutionStateChanged(state=execution_pb2.EXECUTION_STATE_RUNNING),
        )
        requests.say(execution_pb2.AttachRequest(events=execution_pb2.EventBatch(events=[running])))
        self.assertEqual(answer(calls, "ack").sequence, 1)
        failure = execution_pb2.Failure(reason="UNSUPPORTED", message="This executor only speaks.")
        requests.say(
            execution_pb2.AttachRequest(
                complete=execution_pb2.Complete(
                    manifest=execution_pb2.Manifest(
                        execution_id=spec.execution_id,
                        attempt=spec.attempt,
                        state=execution_pb2.EXECUTION_STATE_FAILED,
                        failure=failure,
                        last_sequence=1,
                    )
                )
            )
        )
        self.assertEqual(answer(calls, "complete_ack").state, execution_pb2.EXECUTION_STATE_FAILED)
        requests.end()
        stored = self.executions.GetExecution(
            execution_pb2.GetExecutionRequest(execution_id=spec.execution_id), metadata=self.metadata
        ).execution
        self.assertEqual(stored.failure.message, "This executor only speaks.")


class Requests:
    """What the executor says, as the iterator grpcio wants."""

    def __init__(self):
        import queue

        self.queue = queue.Queue()
        self.take = self.queue.get
        self.say = self.queue.put

    def end(self):
        self.queue.put(None)


def answer(calls, frame):
    """The next frame of one kind; heartbeats and tokens between are no surprise."""
    for reply in calls:
        if reply.HasField(frame):
            return getattr(reply, frame)
    raise AssertionError("the stream ended without " + frame)


class Conformance(unittest.TestCase):
    def test_an_executor_of_one_page_keeps_every_core_promise(self):
        words = ["exec", "env", "PYTHONPATH=" + os.environ["PYTHONPATH"], sys.executable, "test/interop/executor.py"]
        options = ["--mode", "single", "--core", "--json", "--executor", shlex.join(words)]
        ran = subprocess.run(
            ["node", "bin/postern.js", "conformance", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=400
        )
        *verdicts, last = [json.loads(line) for line in ran.stdout.splitlines()]
        self.assertEqual([verdict for verdict in verdicts if not verdict["passed"]], [])
        self.assertEqual(last["summary"]["core"], {"passed": len(verdicts), "of": len(verdicts)})
        self.assertGreater(len(verdicts), 8)
        self.assertEqual(ran.returncode, 0)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    os.makedirs(".build", exist_ok=True)
    with open(".build/interop-counts.json", "w", encoding="utf-8") as file:
        json.dump({"passed": result.testsRun - failed - skipped, "failed": failed, "skipped": skipped}, file)
    raise SystemExit(0 if result.wasSuccessful() else 1)
