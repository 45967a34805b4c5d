#include "status.hpp"

#include <fstream>
#include <sstream>

#include "base/error.hpp"

namespace tenon::conformance {

Status read_status(const std::string& path) {
  Status out;
  std::ifstream file(path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    std::string reason;
    if (size_t bar = line.find(" | "); bar != std::string::npos) {
      reason = line.substr(bar + 3);
      line.resize(bar);
    }
    std::istringstream words(line);
    Expected e;
    std::string test;
    words >> e.state[kInterpreter] >> e.state[kPlanned] >> test;
    bool known = !test.empty();
    for (const std::string& s : e.state) known = known && (s == "pass" || s == "fail" || s == "random" || s == "skip");
    expect(known, "{}:{} is not '<pass|fail|random|skip> (twice) <test> | <reason>'", path, number);
    bool passes = e.state[kInterpreter] == "pass" && e.state[kPlanned] == "pass";
    expect(passes || !reason.empty(), "{}:{} gives no reason for a test that does not pass", path, number);
    e.reason = reason;
    out[test] = e;
  }
  return out;
}

void write_status(const std::string& path, const Status& status) {
  std::ofstream file(path);
  file
      << "# The official ONNX backend tests: state in the interpreter, state through optimiser and planner, test, and "
         "the\n"
         "# reason where it does not pass. `conformance --update` rewrites it; tests/conformance/README.md explains.\n";
  for (const auto& [test, e] : status) {
    file << e.state[kInterpreter] << ' ' << e.state[kPlanned] << ' ' << test;
    if (!e.reason.empty()) file << " | " << e.reason;
    file << '\n';
  }
  file.flush();
  expect(file.good(), "'{}' cannot be written", path);
}

}  // namespace tenon::conformance
