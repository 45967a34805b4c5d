// The expected status of every test, as a text file: "<interpreter> <planned> <test>[ | reason]", sorted by test; lines
// that begin with # are comments. A state is pass, fail, random (runs; types and shapes are right, values are
// random) or skip (not run). All but pass need a reason.
#pragma once

#include <map>
#include <string>

namespace tenon::conformance {

enum Mode { kInterpreter, kPlanned, kModes };

struct Expected {
  std::string state[kModes] = {"pass", "pass"};
  std::string reason;
};
using Status = std::map<std::string, Expected>;

Status read_status(const std::string& path);  ///< empty when there is no such file
void write_status(const std::string& path, const Status& status);

}  // namespace tenon::conformance
