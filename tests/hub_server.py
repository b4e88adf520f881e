"""A small hub on loopback, which speaks the hub's HTTP API to the real `huggingface_hub` and `datasets` clients.

Left out of the API: gated repositories, pull requests, pages of listings, and Xet, a protocol of chunks with a client
of its own (in Rust): without it the clients send and fetch large files by plain HTTP, as they do here.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

READER, WRITER = "hf_reader", "hf_writer"  # tokens; the user is "ada"
_LARGE = (".safetensors", ".bin", ".msgpack", ".parquet")  # kept as Git LFS keeps files
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_KIND = r"(?P<kind>models|datasets)"


@dataclass
class Repo:
    """A repository: its commits, each a whole set of files, and the names of commits."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # branches and tags alike

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Adds files to those of `ref`, and moves it to the new commit."""
        content = self.commits.get(self.refs.get(ref, ""), {}) | files
        sha = hashlib.sha1(f"{len(self.commits)}{sorted(content)}".encode()).hexdigest()
        self.commits[sha], self.refs[ref] = content, sha
        return sha

    @property
    def files(self) -> dict[str, bytes]:
        """The files of "main"."""
        return self.commits[self.refs["main"]]


class Refused(Exception):
    """How the hub refuses: a status, and the code by which clients know why."""

    def __init__(self, status: int, code: str = "", message: str = ""):
        self.status, self.code, self.message = status, code, message


class HubServer:
    """The server, its repositories, and what was asked of it.

    Attributes:
        url: for HF_ENDPOINT.
        repos: ("models" or "datasets", "owner/name") -> repository.
        asked: "METHOD path" of each request.
        broken: paths that match this pattern are refused with status 400.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.broken: str | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops; from then on the hub is unreachable. May be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def add(self, name: str, files: "dict[str, bytes] | Path", *, kind: str = "models", private: bool = False) -> Repo:
        """Makes a repository, or adds a commit to it, of the given files or of those in a folder."""
        if isinstance(files, Path):
            files = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        if (kind, name) not in self.repos:
            self.repos[kind, name] = Repo(private)
            files = {".gitattributes": b""} | files  # as every repository of the hub begins
        repo = self.repos[kind, name]
        repo.commit(files)
        return repo


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection a request: none outlives `close`
    hub: HubServer

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query, path = parse_qs(parts.query), unquote(parts.path)
        self.hub.asked.append(f"{self.command} {path}")
        try:
            if self.hub.broken and re.search(self.hub.broken, path):
                raise Refused(400, message="out of order")
            for (methods, pattern), answer in _ROUTES.items():
                if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                    return answer(self, **match.groupdict())
            raise Refused(404)
        except Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(json.dumps({"error": refused.message}).encode(), refused.status, **headers)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, **{"Content-Type": "application/json"})

    @property
    def _token(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if token not in (None, READER, WRITER):
            raise Refused(401, message="Invalid credentials in Authorization header")
        return token

    def _repo(self, kind: str, name: str) -> Repo:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self._token is None):
            raise Refused(404 if self._token else 401, "RepoNotFound", "Repository not found")
        return repo

    def _commit(self, kind: str, name: str, revision: str | None) -> tuple[str, dict[str, bytes]]:
        repo = self._repo(kind, name)
        sha = repo.refs.get(revision or "main", revision or "main")
        if sha not in repo.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repo.commits[sha]

    def _check_writer(self) -> None:
        if self._token != WRITER:
            raise Refused(403 if self._token else 401, message="You need write access to do that")

    def info(self, kind: str, repo: str, revision: str | None = None) -> None:
        sha, files = self._commit(kind, repo, revision)
        siblings = [{"rfilename": path} for path in files]
        private = self.hub.repos[kind, repo].private
        self._send_json({"id": repo, "sha": sha, "private": private, "siblings": siblings, "tags": [], "downloads": 0})

    def refs(self, kind: str, repo: str) -> None:
        branches = [
            {"name": name, "ref": name, "targetCommit": sha} for name, sha in self._repo(kind, repo).refs.items()
        ]
        self._send_json({"branches": branches, "tags": [], "converts": []})

    def tree(self, kind: str, repo: str, rest: str) -> None:
        revision, _, folder = rest.partition("/")
        _, files = self._commit(kind, repo, revision)
        prefix = f"{folder}/" if folder else ""
        below = {path: content for path, content in files.items() if path.startswith(prefix)}
        if folder and not below:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist")
        if self.query.get("recursive", ["false"])[0].lower() in ("true", "1"):
            folders = {str(parent) for path in below for parent in Path(path).parents if str(parent) != "."}
        else:
            folders = {prefix + path.removeprefix(prefix).split("/")[0] for path in below} - below.keys()
            below = {path: content for path, content in below.items() if "/" not in path.removeprefix(prefix)}
        listed = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        self._send_json(listed + [_described(path, content) for path, content in below.items()])

    def paths_info(self, kind: str, repo: str, revision: str) -> None:
        _, files = self._commit(kind, repo, revision)
        text = self.body.decode()
        asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
        found = [_described(path, files[path]) for path in asked if path in files]
        folders = [path for path in asked if any(file.startswith(f"{path}/") for file in files)]
        self._send_json(found + [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders])

    def resolve(self, repo: str, rest: str, dataset: str | None = None) -> None:
        kind = "datasets" if dataset else "models"
        refs = [*self._repo(kind, repo).refs, *self._repo(kind, repo).commits]
        revision = next((ref for ref in refs if rest.startswith(f"{ref}/")), rest.split("/")[0])
        sha, files = self._commit(kind, repo, revision)
        path = rest.removeprefix(f"{revision}/")
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        content, headers = files[path], {"X-Repo-Commit": sha}
        if path.endswith(_LARGE):  # on another host, where the client is sent
            etag = hashlib.sha256(content).hexdigest()
            self.hub.blobs[etag] = content
            linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            self._send(b"", 302, **headers, **linked, Location=f"{elsewhere}/blobs/{etag}")
        else:
            location = f"/cache/{kind}/{repo}/{sha}/{path}"
            self._send(b"", 307, **headers, ETag=f'"{_oid(content)}"', Location=location)

    def cached(self, kind: str, repo: str, revision: str, path: str) -> None:
        sha, files = self._commit(kind, repo, revision)
        self._send(files[path], **{"X-Repo-Commit": sha, "ETag": f'"{_oid(files[path])}"'})

    def blob(self, oid: str) -> None:
        if self.command == "PUT":
            self.hub.blobs[oid] = self.body
        self._send(self.hub.blobs[oid], ETag=f'"{oid}"')

    def whoami(self) -> None:
        if self._token is None:
            raise Refused(401, message="Invalid credentials")
        role = {"role": "write" if self._token == WRITER else "read"}
        self._send_json({"type": "user", "name": "ada", "orgs": [], "auth": {"accessToken": role}})

    def validate_yaml(self) -> None:
        self._send_json({"errors": [], "warnings": []})

    def create(self) -> None:
        self._check_writer()
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
        if not name.startswith("ada/"):
            raise Refused(403, message=f"You don't have the rights to create a model under {name.split('/')[0]}")
        key = (f"{asked.get('type') or 'model'}s", name)
        if key in self.hub.repos:
            self._send_json({"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}, 409)
        else:
            private = asked.get("private") is True or asked.get("visibility") == "private"
            self.hub.add(name, {}, kind=key[0], private=private)
            self._send_json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def preupload(self, kind: str, repo: str, revision: str) -> None:
        self._check_writer()
        _, files = self._commit(kind, repo, revision)
        answers = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(_LARGE) else "regular"
            oid = _oid(files[path]) if path in files else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send_json({"files": answers})

    def lfs_batch(self, repo: str, dataset: str | None = None) -> None:
        self._check_writer()
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.hub.blobs:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/blobs/{item['oid']}"}}
        self._send_json({"transfer": "basic", "objects": objects})

    def add_commit(self, kind: str, repo: str, revision: str) -> None:
        self._check_writer()
        added = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                added[value["path"]] = self.hub.blobs[value["oid"]]
        sha = self._repo(kind, repo).commit(added, revision)
        self._send_json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})


def _described(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
    if path.endswith(_LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


_ROUTES = {
    ("GET", rf"/api/{_KIND}/{_REPO}(/revision/(?P<revision>.+))?"): _Handler.info,
    ("GET", rf"/api/{_KIND}/{_REPO}/refs"): _Handler.refs,
    ("GET", rf"/api/{_KIND}/{_REPO}/tree/(?P<rest>.+)"): _Handler.tree,
    ("POST", rf"/api/{_KIND}/{_REPO}/paths-info/(?P<revision>.+)"): _Handler.paths_info,
    ("GET HEAD", rf"/(?P<dataset>datasets/)?{_REPO}/resolve/(?P<rest>.+)"): _Handler.resolve,
    ("GET HEAD", rf"/cache/{_KIND}/{_REPO}/(?P<revision>\w+)/(?P<path>.+)"): _Handler.cached,
    ("GET HEAD PUT", r"/blobs/(?P<oid>\w+)"): _Handler.blob,
    ("GET", r"/api/whoami-v2"): _Handler.whoami,
    ("POST", r"/api/validate-yaml"): _Handler.validate_yaml,
    ("POST", r"/api/repos/create"): _Handler.create,
    ("POST", rf"/api/{_KIND}/{_REPO}/preupload/(?P<revision>.+)"): _Handler.preupload,
    ("POST", rf"/(?P<dataset>datasets/)?{_REPO}\.git/info/lfs/objects/batch"): _Handler.lfs_batch,
    ("POST", rf"/api/{_KIND}/{_REPO}/commit/(?P<revision>.+)"): _Handler.add_commit,
}
