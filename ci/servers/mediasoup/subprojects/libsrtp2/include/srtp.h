/* The calls of libsrtp 3 that the worker makes, by those of libsrtp 2: lengths are size_t there, and a stream is removed under
 * another name. */
#pragma once

#include <cstddef>
#include <cstdint>
#include <srtp2/srtp.h>

namespace libsrtp3
{
	template<typename Call>
	inline srtp_err_status_t with_length(Call call, srtp_t session, void* packet, size_t* length)
	{
		int octets = static_cast<int>(*length);
		const srtp_err_status_t status = call(session, packet, &octets);

		*length = static_cast<size_t>(octets);

		return status;
	}
} // namespace libsrtp3

inline srtp_err_status_t srtp_protect(srtp_t session, void* packet, size_t* length)
{
	return libsrtp3::with_length(static_cast<srtp_err_status_t (*)(srtp_t, void*, int*)>(::srtp_protect), session, packet, length);
}

inline srtp_err_status_t srtp_protect_rtcp(srtp_t session, void* packet, size_t* length)
{
	return libsrtp3::with_length(static_cast<srtp_err_status_t (*)(srtp_t, void*, int*)>(::srtp_protect_rtcp), session, packet, length);
}

inline srtp_err_status_t srtp_unprotect(srtp_t session, void* packet, size_t* length)
{
	return libsrtp3::with_length(static_cast<srtp_err_status_t (*)(srtp_t, void*, int*)>(::srtp_unprotect), session, packet, length);
}

inline srtp_err_status_t srtp_unprotect_rtcp(srtp_t session, void* packet, size_t* length)
{
	return libsrtp3::with_length(static_cast<srtp_err_status_t (*)(srtp_t, void*, int*)>(::srtp_unprotect_rtcp), session, packet, length);
}

inline srtp_err_status_t srtp_stream_remove(srtp_t session, uint32_t ssrc)
{
	return srtp_remove_stream(session, ssrc);
}
