"""An encoder run by onnxruntime: load, save, run. It can't be trained.

On disk: `encoder.onnx`, `onnx.json` (what was written, and the hash of it), `config.json` and the
tokenizer's files. `onnx_export.py` makes it of a torch encoder."""

import ctypes
import json
import mmap
import os
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import DataError, Errors
from ..saving import GENERATION_FILE
from ..storage import replacing_folder, sha256
from .files import loading_errors, read_config, read_settings, read_tokenizer
from .windows import WordpieceEncoder, check_ids

GRAPH_FILE, FACTS_FILE = "encoder.onnx", "onnx.json"
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "vectors"
# Of these operators no one reads a file or calls code that isn't onnxruntime's own.
_DOMAINS = {"", "ai.onnx"}


class OnnxEncoder(WordpieceEncoder):
    """An encoder as an ONNX graph, and the tokenizer that belongs to it. Nothing in it ever
    changes, so its copies are itself.

    config (PretrainedConfig): Of the encoder that was exported.
    tokenizer (PreTrainedTokenizerBase): Its wordpieces.
    content (Any): The bytes of `encoder.onnx`, in memory or mapped.
    facts (dict[str, Any]): What `onnx.json` holds.
    threads (int | None): Of onnxruntime; None for as many as torch has when it is loaded.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        content: Any,
        facts: dict[str, Any],
        threads: int | None = None,
    ) -> None:
        self._config, self.tokenizer = config, tokenizer
        self.facts, self.threads = facts, threads
        self._content = content
        self._session: Any = None

    @property
    def config(self) -> PretrainedConfig:
        return self._config

    @property
    def n_rows(self) -> int:
        return int(self.facts["rows"])

    @property
    def n_parameters(self) -> int:
        parameters = self.facts.get("parameters")
        return parameters if isinstance(parameters, int) else 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def model(self) -> PreTrainedModel:
        """RAISES: NotImplementedError J425, as there is nothing that could learn."""
        raise NotImplementedError(Errors.J425)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxEncoder":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_content": bytes(self._content), "_session": None}

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See `WordpieceEncoder`. The vectors are written where the tensor has them.

        RAISES: MemoryError if there is none left; DataError J427 if onnxruntime fails otherwise.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors = torch.empty((*input_ids.shape, self.width))
        session = self._running()
        binding = session.io_binding()
        for name, tensor in zip(INPUTS, (input_ids.contiguous(), mask.contiguous()), strict=True):
            binding.bind_input(name, "cpu", 0, "int64", tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output(OUTPUT, "cpu", 0, "float32", tuple(vectors.shape), vectors.data_ptr())
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's own kinds have no common base
            reason = str(error).splitlines()[0]
            if "allocat" in reason:
                raise MemoryError(reason) from error
            raise DataError(Errors.J427.format(file=GRAPH_FILE, reason=reason)) from error
        return vectors

    def _running(self) -> Any:
        """onnxruntime's session; a forked process makes its own."""
        if self._session is None:
            self._keep(_session(bytes(self._content), self.threads))
        return self._session

    def _keep(self, session: Any) -> None:
        self._session = session
        _WITH_SESSION.add(self)

    def save(self, path: Path, generation: str | None = None) -> None:
        """Write the folder. It appears under its name only when it is complete.

        path (Path): The folder; one that is there already is replaced.
        generation (str | None): A mark of this save, for `checkpoint.read_generation`.
        """
        with replacing_folder(path) as new:
            (new / GRAPH_FILE).write_bytes(self._content)
            self._config.save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            (new / FACTS_FILE).write_text(json.dumps(self.facts, indent=2), encoding="utf-8")
            if generation is not None:
                (new / GENERATION_FILE).write_text(generation, encoding="utf-8")

    @classmethod
    def load(cls, path: Path, threads: int | None = None) -> "OnnxEncoder":
        """Read a folder written by `save`.

        path (Path): The folder.
        threads (int | None): See the class.
        RETURNS (OnnxEncoder): The encoder, which has run once.
        RAISES: ImportError J469 without onnxruntime; DataError J427 if a file is missing, damaged
            or no ONNX graph, J428 if the graph names other files or operators that aren't ONNX's
            own, J429 if it doesn't fit config and tokenizer; of these, what `Encoder.load` raises.
        """
        import_runtime()
        file, name = path / GRAPH_FILE, str(path)
        facts = _read_facts(path)
        if not file.is_file():
            raise DataError(Errors.J427.format(file=GRAPH_FILE, reason="it is missing"), path=path)
        if sha256(file) != facts["sha256"]:
            reason = "its bytes are not those that were written (SHA-256)"
            raise DataError(Errors.J427.format(file=GRAPH_FILE, reason=reason), path=file)
        check_graph(file)
        where: dict[str, Any] = {"local_files_only": True, "revision": "main"}
        with loading_errors(name):
            files = read_settings(name, **where)
            where["trust_remote_code"] = False
            config = read_config(name, files, **where)
            tokenizer = read_tokenizer(name, files, **where)
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        encoder = cls(config, tokenizer, content, facts, threads)
        encoder._keep(_session(str(file), threads))
        check_ids(name, encoder)
        encoder._try_out(file)
        return encoder

    def _try_out(self, file: Path) -> None:
        """RAISES: DataError J429 if the graph isn't of the config's sizes."""
        said = {"width": self.width, "pieces": self.config_pieces()}
        known = {name: self.facts[name] for name in said}
        if said != known:
            raise DataError(
                Errors.J429.format(reason=f"{known}, and config.json {said}"), path=file
            )
        session = self._running()
        names = tuple(node.name for node in session.get_inputs()), session.get_outputs()
        if names[0] != INPUTS or [node.name for node in names[1]] != [OUTPUT]:
            raise DataError(Errors.J429.format(reason="other inputs or outputs"), path=file)
        try:
            self(torch.tensor([[0, self.n_rows - 1]]))
        except DataError as error:
            raise DataError(Errors.J429.format(reason=error), path=file) from error

    def config_pieces(self) -> int:
        """RETURNS (int): How many positions the config gives; 0 where it says nothing."""
        return int(getattr(self._config, "max_position_embeddings", None) or 0)


_WITH_SESSION: "WeakSet[OnnxEncoder]" = WeakSet()


def _leave_sessions_to_the_parent() -> None:
    """A forked process (nlp.pipe, n_process) has its parent's sessions and none of their threads.
    To let go of one would wait for these for ever, so they are never let go of. (onnxruntime
    1.32 itself waits so in a forked process that ends by `sys.exit`: multiprocessing's don't.)
    """
    for encoder in _WITH_SESSION:
        if encoder._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(encoder._session))
            encoder._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_sessions_to_the_parent)


def _read_facts(path: Path) -> dict[str, Any]:
    """What stands in onnx.json.

    RAISES: DataError J427.
    """
    file = path / FACTS_FILE
    kinds = {"sha256": str, "precision": str, "rows": int, "width": int, "pieces": int}
    try:
        facts = json.loads(file.read_bytes())
        if not all(isinstance(facts[name], kind) for name, kind in kinds.items()):
            raise ValueError(f"it has to hold {', '.join(kinds)}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "it is missing" if isinstance(error, OSError) else f"it is damaged ({error})"
        raise DataError(Errors.J427.format(file=FACTS_FILE, reason=reason), path=path) from error
    return dict(facts)


def check_graph(file: Path) -> None:
    """Look at an ONNX file before onnxruntime does, which would open the files that it names.

    RAISES: DataError J427 if it is none, J428 if it names files or operators of its own.
    """
    onnx = import_onnx()
    try:
        model = onnx.load(file, format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf's own kinds
        reason = f"it is no ONNX graph, or cut off ({error})"
        raise DataError(Errors.J427.format(file=GRAPH_FILE, reason=reason), path=file) from error
    if not model.graph.node:
        raise DataError(Errors.J427.format(file=GRAPH_FILE, reason="it is empty"), path=file)
    if model.functions or model.training_info:
        reason = "functions or training steps"
        raise DataError(Errors.J428.format(reason=reason), path=file)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        tensors = list(graph.initializer)
        for sparse in graph.sparse_initializer:
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            if node.domain not in _DOMAINS:
                reason = f"the operator {node.domain}:{node.op_type}"
                raise DataError(Errors.J428.format(reason=reason), path=file)
            for attribute in node.attribute:
                graphs += [attribute.g, *attribute.graphs]
                tensors += [attribute.t, *attribute.tensors]
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    tensors += [sparse.values, sparse.indices]
        for tensor in tensors:
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                named = {entry.key: entry.value for entry in tensor.external_data}
                reason = f"the file {named.get('location')!r} for {tensor.name!r}"
                raise DataError(Errors.J428.format(reason=reason), path=file)


def _session(source: str | bytes, threads: int | None) -> Any:
    """RAISES: DataError J427 if onnxruntime can't take the graph."""
    runtime = import_runtime()
    _make_arena()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Every batch has a shape of its own: a plan for each would be kept and never used again.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base
        reason = f"onnxruntime can't run it ({str(error).splitlines()[0]})"
        raise DataError(Errors.J427.format(file=GRAPH_FILE, reason=reason)) from error


@cache
def _make_arena() -> None:
    """One pool of memory for all encoders of the process, instead of one for each."""
    runtime = import_runtime()
    memory = runtime.OrtMemoryInfo(
        "Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT
    )
    # It grows by what is asked for (1), not to the next power of two.
    settings = runtime.OrtArenaCfg(
        {"arena_extend_strategy": 1, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    )
    runtime.create_and_register_allocator(memory, settings)


def import_runtime() -> Any:
    """RETURNS: onnxruntime. RAISES: ImportError J469."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(Errors.J469.format(package="onnxruntime", extra="onnx")) from error
    return onnxruntime


def import_onnx() -> Any:
    """RETURNS: onnx. RAISES: ImportError J469."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(Errors.J469.format(package="onnx", extra="onnx")) from error
    return onnx
