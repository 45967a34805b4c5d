// guarded: what crosses the public API is tenon::Error and nothing else, whatever the library below (or a caller's
// callback) throws.
#pragma once

#include <exception>
#include <new>

#include "base/error.hpp"

namespace tenon::api {

template <class F>
decltype(auto) guarded(F&& body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(Code::kUnavailable, "out of memory");
  } catch (const std::exception& e) {
    throw Error(Code::kInternal, e.what());
  } catch (...) {
    throw Error(Code::kUnknown, "something that is not an exception of the standard library was thrown");
  }
}

}  // namespace tenon::api
