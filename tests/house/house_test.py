"""Shows that scripts/lint/house.py finds each kind of violation, on small trees, and leaves good code alone."""

import json
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts/lint"))
import cpp_source  # noqa: E402
import house  # noqa: E402

HEADER = "#pragma once\n"


class HouseTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="trireme-house-"))
        self.addCleanup(shutil.rmtree, self.root)

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def assert_finds(self, *wanted):
        """Exactly one finding for each of `wanted`, a text that it contains."""
        findings = house.inspect(self.root)
        self.assertEqual(len(findings), len(wanted), findings)
        for text in wanted:
            self.assertTrue(any(text in finding for finding in findings), f"no {text!r} in {findings}")

    def test_the_table_has_no_cycle(self):
        graph = {part: [(target, "", 0) for target in targets] for part, targets in house.ALLOWED.items()}
        self.assertEqual(house._cycles(graph), [])

    def test_engine_and_stage_never_meet(self):
        self.assertNotIn("runtime/stage", house.ALLOWED["runtime/engine"])
        self.assertNotIn("runtime/engine", house.ALLOWED["runtime/stage"])

    def test_accepts_includes_along_the_arrows(self):
        self.write("runtime/base/check.h", HEADER)
        self.write("runtime/ops/ops.h", HEADER)
        self.write("runtime/ops/cpu/matmul.cc", '#include "runtime/ops/ops.h"\n#include "hwy/highway.h"\n')
        self.write("runtime/model/llama.cc", '#include "runtime/ops/ops.h"\n#include "runtime/base/check.h"\n')
        self.write("launcher/worker/leader.cc", '#include "runtime/model/llama.h"\n#include <grpcpp/grpcpp.h>\n')
        self.assert_finds()

    def test_refuses_includes_against_the_arrows(self):
        self.write("runtime/base/check.cc", '#include "runtime/tensor/tensor.h"\n')
        self.write("runtime/engine/engine.cc", '\n#include "runtime/stage/stage.h"\n')
        self.write("runtime/stage/stage.cc", '#include "runtime/text/tokenizer.h"\n')
        self.write("runtime/ops/cpu/matmul.cc", '#include "parallel/mesh.h"\n')
        self.write("parallel/mesh.cc", '#include "launcher/cli/cli.h"\n')
        self.write("tests/runtime/ops/ops_test.cc", '#include "parallel/mesh.h"\n')
        self.assert_finds("runtime/base/check.cc:1: includes runtime/tensor/tensor.h", "runtime/engine/engine.cc:2: ",
                          "runtime/stage/stage.cc:1: ", "runtime/ops/cpu/matmul.cc:1: ", "parallel/mesh.cc:1: ",
                          "tests/runtime/ops/ops_test.cc:1: ")

    def test_ignores_includes_in_comments_and_strings(self):
        self.write("runtime/base/check.cc", '// #include "launcher/a.h"\n/*\n#include "launcher/a.h"\n*/\n'
                   'const char* kText = R"(\n#include "launcher/a.h"\n)";\n')
        self.assert_finds()

    def test_keeps_grpc_and_protobuf_out_of_runtime_and_comm(self):
        self.write("runtime/engine/engine.cc", "#include <grpcpp/grpcpp.h>\n")
        self.write("parallel/comm/mpi_comm.cc", '#include <mpi.h>\n#include "google/protobuf/message.h"\n')
        self.write("runtime/model/config.cc", "#include <mpi.h>\n")
        self.write("parallel/shards/manifest.cc", '#include "trireme/v1/manifest.pb.h"\n')
        self.write("parallel/group/follower.cc", '#include "trireme/v1/group.grpc.pb.h"\n')
        self.write("runtime/CMakeLists.txt", "trireme_library(engine SOURCES e.cc DEPS gRPC::grpc++)\n")
        self.assert_finds("engine.cc:1: includes grpcpp/grpcpp.h", "mpi_comm.cc:2: includes google/protobuf",
                          "config.cc:1: includes mpi.h", "follower.cc:1: includes proto/trireme/v1/group.proto",
                          "follower.cc:1: includes trireme/v1/group.grpc.pb.h: gRPC", "runtime/CMakeLists.txt:1: links gRPC")

    def test_finds_cycles_of_folders_and_of_headers(self):
        self.write("launcher/worker/a.cc", '#include "launcher/gateway/b.h"\n')
        self.write("launcher/gateway/b.cc", '#include "launcher/worker/a.h"\n')
        self.write("runtime/base/c.h", HEADER + '#include "runtime/base/d.h"\n')
        self.write("runtime/base/d.h", HEADER + '#include "runtime/base/c.h"\n')
        self.assert_finds("cycle of folders: launcher/gateway -> launcher/worker -> launcher/gateway",
                          "cycle of files: runtime/base/c.h -> runtime/base/d.h -> runtime/base/c.h")

    def test_finds_what_grew_too_large(self):
        self.write("runtime/base/long.cc", "\n" * 501)
        self.write("runtime/base/deep.cc", "namespace trireme {\nint F() {\n" + "  ;\n" * 99 + "}\n}\n")
        self.write("runtime/base/fine.cc", "namespace trireme {\nint F() {\n" + "  ;\n" * 98 + "}\n}\n")
        self.write("runtime/base/wide.h", HEADER + "void F(int a, int b, int c, int d, int e, std::map<int, int> f, int g);\n")
        for index in range(16):
            self.write(f"runtime/kv/{chr(ord('a') + index)}.cc", "")
        self.assert_finds("long.cc:500: 501 lines", "deep.cc:2: F: 101 lines", "wide.h:2: F: 7 parameters",
                          "runtime/kv:0: 16 source files")

    def test_finds_banned_names(self):
        self.write("runtime/base/string_utils.h", HEADER)
        self.write("runtime/base/names.h", HEADER + "class PageManager;\nstruct TensorInfo {};\nenum class DataKind {};\n"
                   "struct LayerContext {};\nstruct Impl;\nclass Database {};\n")
        self.assert_finds("string_utils.h:0: file name says 'utils'", "names.h:2: type PageManager",
                          "names.h:3: type TensorInfo", "names.h:4: type DataKind")

    def test_finds_banned_code_but_not_in_comments(self):
        self.write("runtime/base/a.cc", "#include <regex>\n// getenv() and throw are not used here\n"
                   'auto* path = getenv("HOME");\nvoid F() { throw 1; }\nauto* n = new Node(1);\n'
                   "auto p = std::unique_ptr<a::Node>(\n  new Node(1));\n")
        self.write("launcher/main.cc", 'auto* path = getenv("HOME");\n')
        self.write("runtime/base/b.h", "struct B {};\n")
        self.write("runtime/base/c.cc", "// TO" "DO: later\n")
        self.assert_finds("a.cc:1: includes regex", "a.cc:3: getenv", "a.cc:4: throw", "a.cc:5: new",
                          "b.h:1: header without #pragma once", "c.cc:1: unfinished")

    def test_finds_code_that_trusts_its_input(self):
        self.write("launcher/main.cc", "char* text = static_cast<char*>(alloca(size));\nassert(size < 10);\n"
                   "static_assert(sizeof(int) == 4);\nstd::system(command);\nauto* f = popen(command, \"r\");\n"
                   "void* library = dlopen(path, 0);\nfile_system(x);\nerror.system(y);\n")
        self.write("runtime/ops/backend.cc", "void* library = dlopen(path, 0);\n")
        self.assert_finds("main.cc:1: alloca", "main.cc:2: assert", "main.cc:4: system", "main.cc:5: system",
                          "main.cc:6: dlopen")

    def test_compiles_each_header_alone_and_remembers_the_good_ones(self):
        self.write("runtime/base/check.cc", '#include "runtime/base/proven_by_the_build.h"\n')
        self.write("runtime/base/proven_by_the_build.h", HEADER)
        self.write("runtime/base/good.h", HEADER + "#include <string>\nstd::string F();\n")
        self.write("runtime/base/bad.h", HEADER + "std::string F();\n")
        build = self.root / "build"
        build.mkdir()
        (build / "compile_commands.json").write_text(json.dumps([{
            "directory": str(build), "file": str(self.root / "runtime/base/check.cc"),
            "command": f"c++ -I{self.root} -std=c++20 -o check.o -c {self.root}/runtime/base/check.cc"}]))
        findings = house.inspect(self.root, build)
        self.assertEqual(len(findings), 1, findings)
        self.assertIn("runtime/base/bad.h:1: does not compile alone", findings[0])
        self.assertEqual(len(list((build / "house").iterdir())), 1)
        self.write("runtime/base/bad.h", HEADER + "#include <string>\nstd::string F();\n")
        self.assertEqual(house.inspect(self.root, build), [])


class CppSourceTest(unittest.TestCase):
    def functions(self, text):
        return [(found.name, found.line, found.lines, found.parameters) for found in cpp_source.functions(text)]

    def test_measures_methods_lambdas_and_constructors(self):
        text = ("namespace a {\nclass B : public C<D(int)> {\n public:\n  explicit B(int x, int y)\n"
                "      : x_{x}, y_(y) {\n    Run([&](int z) {\n    });\n  }\n  int x() const { return x_; }\n};\n}\n")
        self.assertEqual(self.functions(text), [("B", 4, 5, 2), ("x", 9, 1, 0)])

    def test_tables_and_macros_are_not_functions(self):
        text = ("constexpr int kTable[] = {\n1,\n2,\n};\n#define F(x) {\\\n  x; }\nstruct S { int a = G(1, 2); };\n"
                "enum class E { kA, kB };\n")
        self.assertEqual(self.functions(text), [])

    def test_braces_in_literals_do_not_count(self):
        text = 'int F() {\n  char c = \'{\';\n  int n = 1\'000;\n  return G("}", R"x(})x");\n}\nint H() {\n}\n'
        self.assertEqual(self.functions(text), [("F", 1, 5, 0), ("H", 6, 2, 0)])


if __name__ == "__main__":
    unittest.main()
