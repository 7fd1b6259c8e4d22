# Cross build for 64-bit ARM with Debian's compiler; tests run under qemu-user. The arm64 packages of the libraries are
# installed beside the system's own (CONTRIBUTING.md), or unpacked below HADAL_ARM64_ROOT with `dpkg-deb -x`.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(HADAL_ARM64_ROOT "" CACHE PATH "Folder with unpacked arm64 packages; empty: they are installed")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HADAL_ARM64_ROOT)

# The loader of the cross compiler's own libc; the libraries of the packages beside it.
set(emulator qemu-aarch64 -L /usr/aarch64-linux-gnu)
if(HADAL_ARM64_ROOT)
  set(CMAKE_FIND_ROOT_PATH "${HADAL_ARM64_ROOT}")
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(libraries "${HADAL_ARM64_ROOT}/usr/lib/aarch64-linux-gnu:${HADAL_ARM64_ROOT}/lib/aarch64-linux-gnu")
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${libraries}")
  list(APPEND emulator -E "LD_LIBRARY_PATH=${libraries}")
else()
  list(APPEND emulator -E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu:/lib/aarch64-linux-gnu)
endif()
set(CMAKE_CROSSCOMPILING_EMULATOR "${emulator}")
