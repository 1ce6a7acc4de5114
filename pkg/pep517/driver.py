# Calls one hook of a build backend (PEP 517, PEP 660) and writes what it returns to a file.
import importlib, json, os, sys


def main():
    request = json.loads(sys.argv[1])
    sys.argv = sys.argv[:1]
    if sys.path and sys.path[0] == "":  # the folder that -c puts there: a backend need not see the source (PEP 517)
        del sys.path[0]
    source = os.path.realpath(request["source"])
    os.chdir(source)
    extra = [os.path.realpath(os.path.join(source, p)) for p in request["path"]]
    for p in extra:
        if os.path.commonpath([p, source]) != source:
            sys.exit("backend-path names %s, which does not lie in the source" % p)
    sys.path[:0] = extra
    module, _, attributes = request["backend"].partition(":")
    try:
        backend = importlib.import_module(module)
    except ImportError as e:
        if e.name is not None and (module + ".").startswith(e.name + "."):
            sys.exit("the build backend %s is not among the build requirements" % module)
        raise
    if extra and not any(os.path.realpath(backend.__file__ or "").startswith(p + os.sep) for p in extra):
        sys.exit("the build backend %s was not found below backend-path" % module)
    for name in filter(None, attributes.split(".")):
        backend = getattr(backend, name)
    hook = getattr(backend, request["hook"], None)
    settings = request["settings"] or None
    if request["hook"].startswith("get_requires_"):
        result = [str(r) for r in hook(settings)] if hook else []
    elif hook is None:
        sys.exit("the build backend %s has no hook %s" % (module, request["hook"]))
    else:
        os.makedirs(request["out"], exist_ok=True)
        result = str(hook(request["out"], settings))
    with open(request["result"], "w", encoding="utf-8") as f:
        json.dump(result, f)


main()
